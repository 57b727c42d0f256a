package pod

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/fairlead-io/terraform-provider-fairlead/nodeagent/container"
)

// stage is where a pod is in its life; see worker.
type stage string

const (
	stageNew      stage = ""
	stageActive   stage = "active"
	stageStopping stage = "stopping"
	stageFinished stage = "finished"
)

// podRecord is all that is remembered of a pod. It is written to disk before the outside hears of a change.
type podRecord struct {
	Stage     stage        `json:"stage,omitempty"`
	StartTime *metav1.Time `json:"startTime,omitempty"`
	// Generation counts sandboxes: what ran in an earlier one, init containers included, runs again.
	Generation int          `json:"generation,omitempty"`
	IPs        []netip.Addr `json:"ips,omitempty"`
	SandboxUp  bool         `json:"sandboxUp,omitempty"`
	// Failed is set when the pod as a whole failed: refused, past its deadline, evicted.
	Failed bool `json:"failed,omitempty"`
	// Evicted is set when this node has ended a pod that it had taken.
	Evicted bool `json:"evicted,omitempty"`
	// Reason and Message are the status's, for a pod that failed as a whole.
	Reason     string                      `json:"reason,omitempty"`
	Message    string                      `json:"message,omitempty"`
	Containers map[string]*containerRecord `json:"containers,omitempty"`
	// Conditions are those published last, for their times.
	Conditions []corev1.PodCondition `json:"conditions,omitempty"`
	// StopBy is when the grace period of a pod that is stopping ends.
	StopBy *metav1.Time `json:"stopBy,omitempty"`
	// Limits are those of the pod's own cgroup, as set last.
	Limits *container.PodResources `json:"limits,omitempty"`
	// Resizing says that resources were allocated to the pod which not all its containers have yet.
	Resizing bool `json:"resizing,omitempty"`
	// Released says that a finished pod holds nothing on the host any more.
	Released bool `json:"released,omitempty"`
}

// containerRecord is a container of a pod through all its restarts.
type containerRecord struct {
	ID         string `json:"id,omitempty"` // of the instance that runs or ran last
	Attempt    int32  `json:"attempt"`      // restarts so far
	Generation int    `json:"generation,omitempty"`
	SpecImage  string `json:"specImage,omitempty"` // as the pod named it
	Image      string `json:"image,omitempty"`
	ImageID    string `json:"imageID,omitempty"`
	LogPath    string `json:"logPath,omitempty"`
	StopSignal string `json:"stopSignal,omitempty"` // of the image
	// Resources are those of the instance, as set last; nil for one of an agent that did not write them down.
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`
	// Again says why the instance is ended to be started anew, whatever its exit code makes of that.
	Again   restartCause          `json:"again,omitempty"`
	State   corev1.ContainerState `json:"state"`
	Last    corev1.ContainerState `json:"last"`
	Started bool                  `json:"started,omitempty"` // its startup probe, if any, has passed
	Ready   bool                  `json:"ready,omitempty"`
	Crash   backoff               `json:"crash"`
}

// restartCause is why this node ends a container that is to run again.
type restartCause string

const (
	causeChange restartCause = "change" // of its definition: the new one starts at once
	causeProbe  restartCause = "probe"  // a failure, which delays the next start like any other
)

func (c *containerRecord) running() bool    { return c != nil && c.State.Running != nil }
func (c *containerRecord) terminated() bool { return c != nil && c.State.Terminated != nil }

func (c *containerRecord) succeeded() bool {
	return c.terminated() && c.State.Terminated.ExitCode == 0
}

const (
	podFile    = "pod.json"
	recordFile = "state.json"
)

// checkpoint keeps a pod's object and record in its directory. Files are replaced by rename without waiting for the
// disk: they are there to outlive this process. After a loss of power the newest may be missing or torn; a torn one
// counts as missing, and the API's status stands in for it.
type checkpoint struct {
	dir        string
	pod, state []byte // as last written
}

func (c *checkpoint) save(pod *corev1.Pod, rec *podRecord) error {
	p, err := json.Marshal(&corev1.Pod{ObjectMeta: pod.ObjectMeta, Spec: pod.Spec, Status: corev1.PodStatus{QOSClass: pod.Status.QOSClass}})
	if err != nil {
		return fmt.Errorf("cannot encode checkpoint: %w", err)
	}
	r, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("cannot encode checkpoint: %w", err)
	}
	if !bytes.Equal(p, c.pod) {
		if err := c.write(podFile, p); err != nil {
			return err
		}
		c.pod = p
	}
	if !bytes.Equal(r, c.state) {
		if err := c.write(recordFile, r); err != nil {
			return err
		}
		c.state = r
	}
	return nil
}

func (c *checkpoint) write(name string, data []byte) error {
	if err := os.MkdirAll(c.dir, 0o750); err != nil {
		return fmt.Errorf("cannot write checkpoint: %w", err)
	}
	tmp := filepath.Join(c.dir, "."+name)
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("cannot write checkpoint: %w", err)
	}
	if err := os.Rename(tmp, filepath.Join(c.dir, name)); err != nil {
		return fmt.Errorf("cannot write checkpoint: %w", err)
	}
	return nil
}

// load reads what an earlier process wrote. Without a readable pod there is nothing to go on from; without a readable
// record the pod is taken up as if it were new.
func (c *checkpoint) load() (*corev1.Pod, *podRecord, error) {
	data, err := os.ReadFile(filepath.Join(c.dir, podFile))
	if err != nil {
		return nil, nil, fmt.Errorf("cannot read checkpoint: %w", err)
	}
	pod := &corev1.Pod{}
	if err := json.Unmarshal(data, pod); err != nil {
		return nil, nil, fmt.Errorf("cannot read checkpoint %s: %w", c.dir, err)
	}
	rec := newRecord()
	state, err := os.ReadFile(filepath.Join(c.dir, recordFile))
	if err == nil {
		err = json.Unmarshal(state, rec)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		rec = newRecord()
	}
	c.pod, c.state = data, state
	return pod, rec, nil
}

func newRecord() *podRecord { return &podRecord{Containers: map[string]*containerRecord{}} }

// recordFromStatus takes up a pod whose checkpoint is lost from what the API knows of it, so that restarts are counted on.
func recordFromStatus(status *corev1.PodStatus) *podRecord {
	rec := newRecord()
	rec.StartTime = status.StartTime
	for _, list := range [][]corev1.ContainerStatus{status.InitContainerStatuses, status.ContainerStatuses, status.EphemeralContainerStatuses} {
		for _, s := range list {
			if s.ContainerID == "" {
				continue
			}
			rec.Stage = stageActive
			rec.Containers[s.Name] = &containerRecord{
				ID: trimID(s.ContainerID), Attempt: s.RestartCount, Image: s.Image, ImageID: s.ImageID,
				Resources: s.Resources, State: s.State, Last: s.LastTerminationState, Ready: s.Ready, Started: s.Started != nil && *s.Started,
			}
		}
	}
	return rec
}

// checkpoints lists the pods that have a directory.
func checkpoints(root string) ([]types.UID, error) {
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list checkpoints: %w", err)
	}
	var out []types.UID
	for _, e := range entries {
		out = append(out, types.UID(e.Name()))
	}
	return out, nil
}
