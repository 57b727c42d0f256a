package api

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// metrics are few, so that each is worth a look. They have Kubernetes' names where Kubernetes has them.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	events   *prometheus.CounterVec
	watches  prometheus.Gauge
	panics   prometheus.Counter
	// series caches the labelled children: looking one up by labels allocates.
	series sync.Map // seriesKey -> *series
}

// seriesKey is what requests are counted by. kind is nil for what is no resource.
type seriesKey struct {
	verb, subresource string
	kind              *kind.Kind
	code              int
	cluster           bool // not within one namespace
}

type series struct {
	count   prometheus.Counter
	seconds prometheus.Observer
}

func newMetrics(l *limits) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_request_total", Help: "Requests by verb, resource and code."},
			[]string{"verb", "group", "version", "resource", "subresource", "scope", "component", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "apiserver_request_duration_seconds", Help: "Time of requests other than watches and streams.",
			Buckets: []float64{.001, .005, .01, .05, .1, .5, 1, 5, 30}}, []string{"verb", "group", "version", "resource", "subresource", "scope", "component"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_watch_events_total", Help: "Events sent to watches."}, []string{"group", "version", "resource"}),
		watches: prometheus.NewGauge(prometheus.GaugeOpts{Name: "apiserver_longrunning_requests", Help: "Open watches.",
			ConstLabels: prometheus.Labels{"verb": "WATCH", "component": component}}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{Name: "apiserver_panics_total", Help: "Handlers that panicked."}),
	}
	m.registry.MustRegister(m.requests, m.seconds, m.events, m.watches, m.panics, limitFigures{l},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// component is how Kubernetes calls the program.
const component = "apiserver"

// countedVerbs are the verbs that have series of their own, with Kubernetes' names for them: those of resources,
// and the methods of other paths.
var countedVerbs = map[string]string{"get": "GET", "list": "LIST", "watch": "WATCH", "create": "POST", "update": "PUT", "patch": "PATCH",
	"delete": "DELETE", "deletecollection": "DELETECOLLECTION", "post": "POST", "put": "PUT", "head": "HEAD"}

// observe counts one finished request.
func (m *metrics) observe(r *request, code int, took time.Duration) {
	key := seriesKey{verb: r.verb, kind: r.kind, code: code}
	if r.kind != nil {
		key.cluster = r.namespace == ""
		if r.subresource != "" && subresources[r.subresource] != nil {
			key.subresource = r.subresource
		}
	}
	if countedVerbs[key.verb] == "" {
		key.verb = "other" // a client may make up methods; series must not grow by that
	}
	v, ok := m.series.Load(key)
	if !ok {
		v, _ = m.series.LoadOrStore(key, m.newSeries(key, r))
	}
	s := v.(*series)
	s.count.Inc()
	if !r.long() {
		s.seconds.Observe(took.Seconds())
	}
}

func (m *metrics) newSeries(key seriesKey, r *request) *series {
	verb := countedVerbs[key.verb]
	if verb == "" {
		verb = "OTHER"
	}
	labels := []string{verb, "", "", "", key.subresource, "", component}
	if k := key.kind; k != nil {
		labels[1], labels[2], labels[3] = k.Group, k.Version, k.Plural
		switch {
		case r.name != "" || key.verb == "create":
			labels[5] = "resource"
		case key.cluster:
			labels[5] = "cluster"
		default:
			labels[5] = "namespace"
		}
	}
	return &series{count: m.requests.WithLabelValues(append(labels, strconv.Itoa(key.code))...), seconds: m.seconds.WithLabelValues(labels...)}
}

// watchEvents returns the counter of events that watches of a kind are sent.
func (m *metrics) watchEvents(k *kind.Kind) prometheus.Counter {
	return m.events.WithLabelValues(k.Group, k.Version, k.Plural)
}

// limitFigures are those of seats, taken when they are asked for.
type limitFigures struct{ limits *limits }

var (
	inflightDesc = prometheus.NewDesc("apiserver_current_inflight_requests", "Requests that have a seat, by kind.", []string{"request_kind"}, nil)
	waitingDesc  = prometheus.NewDesc("apiserver_flowcontrol_current_inqueue_requests", "Requests that wait for a seat.", []string{"priority_level", "request_kind"}, nil)
	rejectedDesc = prometheus.NewDesc("apiserver_flowcontrol_rejected_requests_total", "Requests that were answered 429.", []string{"priority_level", "request_kind"}, nil)
)

// Describe implements prometheus.Collector.
func (limitFigures) Describe(c chan<- *prometheus.Desc) {
	c <- inflightDesc
	c <- waitingDesc
	c <- rejectedDesc
}

// Collect implements prometheus.Collector.
func (f limitFigures) Collect(c chan<- prometheus.Metric) {
	for k, kindName := range kindNames {
		inflight := 0
		for l, levelName := range levelNames {
			taken, waiting, rejected := f.limits.pools[l][k].figures()
			inflight += taken
			c <- prometheus.MustNewConstMetric(waitingDesc, prometheus.GaugeValue, float64(waiting), levelName, kindName)
			c <- prometheus.MustNewConstMetric(rejectedDesc, prometheus.CounterValue, float64(rejected), levelName, kindName)
		}
		c <- prometheus.MustNewConstMetric(inflightDesc, prometheus.GaugeValue, float64(inflight), kindName)
	}
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
