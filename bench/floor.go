package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// floorCommand is the argument with which this program is the process that measureFloor measures.
const floorCommand = "floor"

// floorAnswers are what the process of a floor has in memory: lists as a server sent them.
type floorAnswers struct {
	Type        string
	All, Labels []byte
}

// measureFloor takes the lists and the watches of a process that has its answers in memory and stores nothing. It is what
// client, connection and machine need by themselves: no server comes below it but by chance, and what one takes beyond it is
// its own.
// The answers are those of t, which must have what measureCreate wrote.
func measureFloor(ctx context.Context, t *target, o *options) (_ []figure, err error) {
	has, err := t.storedAnswers(ctx)
	if err != nil {
		return nil, err
	}
	f, err := startFloor(ctx, has)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.stop()) }()
	var figures []figure
	for _, step := range []func(context.Context, *target, *options) ([]figure, error){measureList, measureWatch} {
		found, err := step(ctx, f.target, o)
		if err != nil {
			return nil, err
		}
		figures = append(figures, found...)
	}
	for i := range figures {
		figures[i].reference = ""
	}
	return figures, nil
}

func (t *target) storedAnswers(ctx context.Context) (*floorAnswers, error) {
	all, kind, err := t.listed(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	labels, _, err := t.listed(ctx, tenth)
	return &floorAnswers{Type: kind, All: all, Labels: labels}, err
}

// listed is a list as the server sends it.
func (t *target) listed(ctx context.Context, l metav1.ListOptions) (body []byte, contentType string, err error) {
	body, err = t.listRequest(l).Do(ctx).ContentType(&contentType).Raw()
	return body, contentType, err
}

// floor is the process, as its parent has it.
type floor struct {
	cmd   *exec.Cmd
	stdin io.Closer
	*target
}

// address is what the process says once it listens.
type address struct {
	URL string
	CA  []byte
}

func startFloor(ctx context.Context, has *floorAnswers) (_ *floor, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, floorCommand)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	f := &floor{cmd: cmd, stdin: stdin}
	if err := json.NewEncoder(stdin).Encode(has); err != nil {
		return nil, errors.Join(err, f.stop())
	}
	var at address
	if err := json.NewDecoder(stdout).Decode(&at); err != nil {
		return nil, errors.Join(fmt.Errorf("the process of the floor does not listen: %w", err), f.stop())
	}
	config := &rest.Config{Host: at.URL, TLSClientConfig: rest.TLSClientConfig{CAData: at.CA}, QPS: -1}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, errors.Join(err, f.stop())
	}
	f.target = &target{config: config, client: client, namespace: metav1.NamespaceDefault}
	return f, nil
}

func (f *floor) stop() error { return errors.Join(f.stdin.Close(), f.cmd.Wait()) }

// serveFloor is the process: it reads its answers from in, says on out where it listens, and ends with in.
func serveFloor(in io.Reader, out io.Writer) error {
	h := &floorHandler{watchers: map[chan []byte]bool{}}
	stdin := json.NewDecoder(in)
	if err := stdin.Decode(&h.answers); err != nil {
		return err
	}
	server := httptest.NewUnstartedServer(h)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	defer server.CloseClientConnections()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := json.NewEncoder(out).Encode(address{URL: server.URL, CA: ca}); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, in)
	return err
}

// floorHandler answers lists with what it has, and sends what is created to all who watch.
type floorHandler struct {
	answers  floorAnswers
	mu       sync.Mutex
	watchers map[chan []byte]bool
	revision int
}

func (h *floorHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	switch {
	case r.Method == http.MethodPost:
		if err := h.create(w, r); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	case query.Get("watch") != "":
		h.watch(w, r)
	case query.Get("labelSelector") != "":
		h.list(w, h.answers.Labels)
	default:
		h.list(w, h.answers.All)
	}
}

func (h *floorHandler) list(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", h.answers.Type)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}

func (h *floorHandler) watch(w http.ResponseWriter, r *http.Request) {
	events := make(chan []byte, 1024)
	h.mu.Lock()
	h.watchers[events] = true
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.watchers, events)
		h.mu.Unlock()
	}()
	w.Header().Set("Content-Type", h.answers.Type+";stream=watch")
	flush := http.NewResponseController(w)
	for {
		if flush.Flush() != nil {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case e := <-events:
			if _, err := w.Write(e); err != nil {
				return
			}
		}
	}
}

func (h *floorHandler) create(w http.ResponseWriter, r *http.Request) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	var secret corev1.Secret
	if err := runtime.DecodeInto(scheme.Codecs.UniversalDeserializer(), body, &secret); err != nil {
		return err
	}
	object, event, err := h.encode(&secret)
	if err != nil {
		return err
	}
	h.mu.Lock()
	for events := range h.watchers {
		events <- event
	}
	h.mu.Unlock()
	w.Header().Set("Content-Type", h.answers.Type)
	w.WriteHeader(http.StatusCreated)
	_, err = w.Write(object)
	return err
}

// encode returns an object as an answer has it, and as a watch.
func (h *floorHandler) encode(secret *corev1.Secret) (object, event []byte, err error) {
	h.mu.Lock()
	h.revision++
	secret.ResourceVersion = strconv.Itoa(h.revision)
	h.mu.Unlock()
	secret.CreationTimestamp = metav1.NewTime(time.Now())
	mediaType, _, _ := strings.Cut(h.answers.Type, ";")
	info, ok := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), mediaType)
	if !ok || info.StreamSerializer == nil {
		return nil, nil, fmt.Errorf("%s cannot be written", mediaType)
	}
	object, err = runtime.Encode(scheme.Codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion), secret)
	if err != nil {
		return nil, nil, err
	}
	encoded, err := runtime.Encode(info.StreamSerializer.Serializer, &metav1.WatchEvent{Type: string(watch.Added), Object: runtime.RawExtension{Raw: object}})
	if err != nil {
		return nil, nil, err
	}
	var framed bytes.Buffer
	if _, err := info.StreamSerializer.Framer.NewFrameWriter(&framed).Write(encoded); err != nil {
		return nil, nil, err
	}
	return object, framed.Bytes(), nil
}
