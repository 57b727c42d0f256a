package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/config"
)

const nodeName = "bench"

// node is an agent with a containerd of its own, on this host.
type node struct {
	dir        string
	server     *server
	containerd *exec.Cmd
	agent      *exec.Cmd
	configFile string
	binary     string
}

func measureNode(ctx context.Context, s *server, o *options) (err error) {
	n := &node{server: s, dir: filepath.Join(s.dir, "node")}
	defer func() { err = errors.Join(err, n.stop()) }()
	if err := n.start(ctx, o); err != nil {
		return err
	}
	if err := n.putImage(ctx, o.image); err != nil {
		return err
	}
	if err := sleep(ctx, o.idle); err != nil {
		return err
	}
	printAlone(figure{"agent memory, idle for " + o.idle.String(), megabytes, []float64{float64(processRSS(n.agent.Process.Pid)) / 1000}, kubernetesAgent, "<= 60 MB"})
	if err := n.measureRuntime(ctx, o); err != nil {
		return err
	}
	if err := measurePods(ctx, s, o); err != nil {
		return err
	}
	return n.measureService(ctx, o)
}

func (n *node) start(ctx context.Context, o *options) error {
	if err := os.MkdirAll(n.dir, 0o700); err != nil {
		return err
	}
	if err := n.install(ctx, o.binary); err != nil {
		return err
	}
	socket := filepath.Join(n.dir, "containerd.sock")
	toml := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\n  address = %q\n",
		filepath.Join(n.dir, "root"), filepath.Join(n.dir, "state"), socket)
	tomlFile := filepath.Join(n.dir, "containerd.toml")
	if err := os.WriteFile(tomlFile, []byte(toml), 0o600); err != nil {
		return err
	}
	var err error
	if n.containerd, err = n.launch("containerd", "containerd", "-c", tomlFile); err != nil {
		return err
	}
	serverFile := filepath.Join(n.dir, "server.yaml")
	if err := writeConfig(serverFile, &config.Server{DataDir: filepath.Join(n.server.dir, "server")}); err != nil {
		return err
	}
	token, err := exec.CommandContext(ctx, n.binary, "token", "create", "--config", serverFile, "--node", nodeName).Output()
	if err != nil {
		return fmt.Errorf("cannot make a join token: %w", err)
	}
	tokenFile, caFile := filepath.Join(n.dir, "token"), filepath.Join(n.dir, "ca.crt")
	if err := errors.Join(os.WriteFile(tokenFile, token, 0o600), os.WriteFile(caFile, n.server.config.CAData, 0o600)); err != nil {
		return err
	}
	n.configFile = filepath.Join(n.dir, "agent.yaml")
	err = writeConfig(n.configFile, &config.Agent{
		NodeName: nodeName, DataDir: filepath.Join(n.dir, "agent"), Servers: []string{n.server.config.Host}, CAFile: caFile, TokenFile: tokenFile, Containerd: socket,
	})
	if err != nil {
		return err
	}
	if n.agent, err = n.launch("agent", n.binary, "agent", "--config", n.configFile); err != nil {
		return err
	}
	return n.awaitReady(ctx)
}

// install puts the program where the agent runs it from, as bootstrap puts it on a host. The pages of it that an agent
// holds depend on how the file was written: the kernel maps whole folios, which are as large as the writes.
func (n *node) install(ctx context.Context, binary string) error {
	f, err := os.Open(binary)
	if err != nil {
		return err
	}
	defer f.Close()
	n.binary = filepath.Join(n.dir, "fairlead")
	host := ssh.Local(false, slog.New(slog.DiscardHandler))
	defer host.Close()
	return host.Upload(ctx, f, n.binary, 0o755)
}

func (n *node) launch(name, program string, args ...string) (*exec.Cmd, error) {
	log, err := os.Create(filepath.Join(n.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	// A Ctrl-C is for the benchmark, which then ends its processes in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd, cmd.Start()
}

func writeConfig(path string, v any) error {
	data, err := config.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}

func (n *node) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		obj, err := n.server.client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
		if err == nil {
			for _, c := range obj.Status.Conditions {
				if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue {
					return nil
				}
			}
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return fmt.Errorf("the node is not ready; see %s/agent.log: %w", n.dir, err)
		}
	}
}

// putImage imports an archive through the API server, as fairlead_image does.
func (n *node) putImage(ctx context.Context, archive string) error {
	if archive == "" {
		archive = filepath.Join(n.dir, "image.tar")
		if out, err := exec.CommandContext(ctx, "go", "run", "./internal/tools/binimage", "-name", benchImage, "-o", archive, "/bin/busybox").CombinedOutput(); err != nil {
			return fmt.Errorf("cannot make an image of /bin/busybox, which needs the project's folder (-image names one that is there): %w\n%s", err, out)
		}
	}
	data, err := os.ReadFile(archive)
	if err != nil {
		return err
	}
	if _, err := tar.NewReader(bytes.NewReader(data)).Next(); err != nil {
		return fmt.Errorf("cannot read image %s: %w", archive, err)
	}
	return n.server.client.CoreV1().RESTClient().Put().AbsPath("/api/v1/nodes", nodeName, "proxy", "images").Body(data).Do(ctx).Error()
}

// benchImage is the name that the image has on the node.
const benchImage = "localhost/bench:1"

func measurePods(ctx context.Context, s *server, o *options) error {
	var took latencies
	for i := range 20 {
		d, err := s.podStart(ctx, fmt.Sprintf("bench-one-%d", i), 1)
		if err != nil {
			return err
		}
		took = append(took, d)
	}
	printAlone(figure{"pod create to Ready, p50 / p99", milliseconds, took.middleAndTail(), kubernetesPod, "p50 <= 150 ms"})
	d, err := s.podStart(ctx, "bench-burst", o.burst)
	if err != nil {
		return err
	}
	printAlone(figure{fmt.Sprintf("%d pods at once, all Ready", o.burst), milliseconds, []float64{millis(d)}, kubernetesBurst, "<= 2 s"})
	return s.deletePods(ctx)
}

// podStart takes the time from the first create until n pods are Ready, as a watcher sees it.
func (s *server) podStart(ctx context.Context, label string, n int) (time.Duration, error) {
	done, stop, err := s.counted(ctx, "bench="+label, n, podReady)
	if err != nil {
		return 0, err
	}
	defer stop()
	begin := time.Now()
	err = each(ctx, n, n, func(ctx context.Context, i int) error {
		_, err := s.client.CoreV1().Pods(s.namespace).Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", label, i), Labels: map[string]string{"bench": label, "bench-node": "yes"}},
			Spec: corev1.PodSpec{TerminationGracePeriodSeconds: ptr.To[int64](0), Containers: []corev1.Container{
				{Name: "c", Image: benchImage, ImagePullPolicy: corev1.PullNever, Args: []string{"sleep", "100000"}}}},
		}, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return 0, err
	}
	err = await(ctx, done, "the start of all pods")
	return time.Since(begin), err
}

func podReady(p *corev1.Pod) bool {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func (s *server) deletePods(ctx context.Context) error {
	begin := time.Now()
	pods := s.client.CoreV1().Pods(s.namespace)
	sel := metav1.ListOptions{LabelSelector: "bench-node=yes"}
	list, err := pods.List(ctx, sel)
	if err != nil {
		return err
	}
	count := len(list.Items)
	if err := pods.DeleteCollection(ctx, metav1.DeleteOptions{}, sel); err != nil {
		return err
	}
	for len(list.Items) > 0 {
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
		if list, err = pods.List(ctx, sel); err != nil {
			return err
		}
	}
	printAlone(figure{fmt.Sprintf("%d pods deleted, all gone", count), milliseconds, []float64{millis(time.Since(begin))}, kubernetesGone, ""})
	return nil
}

// measureService takes the time from the create of a service until a connection to its cluster IP is answered.
func (n *node) measureService(ctx context.Context, o *options) error {
	obj, err := n.server.client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	address := obj.Status.Addresses[0].Address
	l, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return err
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	port := int32(l.Addr().(*net.TCPAddr).Port)
	err = each(ctx, o.writers, o.services, func(ctx context.Context, i int) error {
		_, err := n.server.addService(ctx, fmt.Sprintf("bench-standing-%d", i), address, port)
		return err
	})
	if err != nil {
		return err
	}
	last, err := n.server.addService(ctx, "bench-last", address, port)
	if err != nil {
		return err
	}
	if err := answers(ctx, last); err != nil {
		return err
	}
	var took latencies
	for i := range 20 {
		begin := time.Now()
		ip, err := n.server.addService(ctx, fmt.Sprintf("bench-new-%d", i), address, port)
		if err != nil {
			return err
		}
		if err := answers(ctx, ip); err != nil {
			return err
		}
		took = append(took, time.Since(begin))
	}
	printAlone(figure{fmt.Sprintf("new service to first answer, %d standing, p50 / p99", o.services), milliseconds, took.middleAndTail(), kubernetesService, "<= 10 ms"})
	return nil
}

func (s *server) addService(ctx context.Context, name, address string, port int32) (ip string, err error) {
	svc, err := s.client.CoreV1().Services(s.namespace).Create(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "p", Port: 80, TargetPort: intstr.FromInt32(port)}}}}, metav1.CreateOptions{})
	if err != nil {
		return "", err
	}
	_, err = s.client.DiscoveryV1().EndpointSlices(s.namespace).Create(ctx, &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("p"), Port: &port, Protocol: ptr.To(corev1.ProtocolTCP)}},
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)}}},
	}, metav1.CreateOptions{})
	return svc.Spec.ClusterIP, err
}

func answers(ctx context.Context, ip string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	d := net.Dialer{Timeout: 50 * time.Millisecond}
	for {
		c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(ip, "80"))
		if err == nil {
			return c.Close()
		}
		if ctx.Err() != nil {
			return fmt.Errorf("service %s does not answer: %w", ip, err)
		}
	}
}

func (n *node) stop() error {
	var errs []error
	if n.agent != nil {
		_ = n.agent.Process.Signal(syscall.SIGTERM)
		_ = n.agent.Wait()
	}
	if n.configFile != "" {
		if out, err := exec.Command(n.binary, "cleanup", "--config", n.configFile).CombinedOutput(); err != nil {
			errs = append(errs, fmt.Errorf("cannot clean up: %w: %s", err, strings.TrimSpace(string(out))))
		}
	}
	if n.containerd != nil {
		_ = n.containerd.Process.Signal(syscall.SIGTERM)
		_ = n.containerd.Wait()
	}
	return errors.Join(errs...)
}
