package api

import (
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/admission"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/kind"
)

// admitConnect asks admission whether a connection to a pod, node or service may be made.
func (s *Server) admitConnect(r *request) error {
	o, err := r.write()
	if err != nil {
		return err
	}
	name, options := r.connectOptions()
	body := &admission.Body{Kind: corev1.SchemeGroupVersion.WithKind(name), Object: options}
	return s.registry.AdmitBody(r.Context(), kind.Connect, r.kind, r.objectNamespace(), r.name, r.subresource, body, o)
}

// connectOptions are the parameters of a connection as an object, as admission sees them.
func (r *request) connectOptions() (string, runtime.Object) {
	q := r.query
	switch r.subresource {
	case "exec":
		return "PodExecOptions", &corev1.PodExecOptions{
			Stdin: truth(q, "stdin"), Stdout: truth(q, "stdout"), Stderr: truth(q, "stderr"), TTY: truth(q, "tty"),
			Container: q.Get("container"), Command: q["command"],
		}
	case "attach":
		return "PodAttachOptions", &corev1.PodAttachOptions{
			Stdin: truth(q, "stdin"), Stdout: truth(q, "stdout"), Stderr: truth(q, "stderr"), TTY: truth(q, "tty"), Container: q.Get("container"),
		}
	case "portforward":
		options := &corev1.PodPortForwardOptions{}
		for _, list := range q["ports"] {
			for text := range strings.SplitSeq(list, ",") {
				if port, err := strconv.ParseInt(text, 10, 32); err == nil {
					options.Ports = append(options.Ports, int32(port))
				}
			}
		}
		return "PodPortForwardOptions", options
	}
	switch r.plural {
	case "nodes":
		return "NodeProxyOptions", &corev1.NodeProxyOptions{Path: r.rest}
	case "services":
		return "ServiceProxyOptions", &corev1.ServiceProxyOptions{Path: r.rest}
	}
	return "PodProxyOptions", &corev1.PodProxyOptions{Path: r.rest}
}
