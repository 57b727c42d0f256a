package api

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are few, so that each is worth a look. They have Kubernetes' names where Kubernetes has them.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	watches  prometheus.Gauge
	rejected prometheus.Counter
	panics   prometheus.Counter
	// series caches the labelled children: looking one up by labels allocates.
	series sync.Map // seriesKey -> *series
}

type seriesKey struct {
	verb, resource string
	code           int
}

type series struct {
	count   prometheus.Counter
	seconds prometheus.Observer
}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "apiserver_request_total", Help: "Requests by verb, resource and code."}, []string{"verb", "resource", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "apiserver_request_duration_seconds", Help: "Time of requests other than watches and streams, by verb.",
			Buckets: []float64{.001, .005, .01, .05, .1, .5, 1, 5, 30}}, []string{"verb"}),
		watches:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "apiserver_watches", Help: "Open watches."}),
		rejected: prometheus.NewCounter(prometheus.CounterOpts{Name: "apiserver_rejected_total", Help: "Requests that were answered 429."}),
		panics:   prometheus.NewCounter(prometheus.CounterOpts{Name: "apiserver_panics_total", Help: "Handlers that panicked."}),
	}
	m.registry.MustRegister(m.requests, m.seconds, m.watches, m.rejected, m.panics,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// countedVerbs are the verbs of resources and the methods of other paths that have series of their own.
var countedVerbs = map[string]bool{"get": true, "list": true, "watch": true, "create": true, "update": true, "patch": true,
	"delete": true, "deletecollection": true, "post": true, "put": true, "head": true}

// observe counts one finished request.
func (m *metrics) observe(r *request, code int, took time.Duration) {
	key := seriesKey{r.verb, "", code}
	if r.kind != nil {
		key.resource = r.kind.Plural
		if r.subresource != "" && subresources[r.subresource] != nil {
			key.resource = r.kind.Plural + "/" + r.subresource
		}
	}
	if !countedVerbs[key.verb] {
		key.verb = "other" // a client may make up methods; series must not grow by that
	}
	v, ok := m.series.Load(key)
	if !ok {
		v, _ = m.series.LoadOrStore(key, &series{
			count: m.requests.WithLabelValues(key.verb, key.resource, strconv.Itoa(code)), seconds: m.seconds.WithLabelValues(key.verb),
		})
	}
	s := v.(*series)
	s.count.Inc()
	if !r.long() {
		s.seconds.Observe(took.Seconds())
	}
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
