package endpoints

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client/clienttest"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/client/clienttest/plane"
	"github.com/fairlead-io/terraform-provider-fairlead/controlplane/controller/loop"
)

func TestEndpointsOfUsersAreMirrored(t *testing.T) {
	c := clienttest.NewFake(
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "db", Namespace: "ns"}},
		&corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "ns"}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "web"}}},
		&corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "ns"}, Subsets: []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: "192.0.2.1"}}}}},
	)
	plane.Go(t, func(ctx context.Context) error {
		return loop.Run(ctx, c, slog.New(slog.DiscardHandler), Mirror(c))
	})
	seen := func() string {
		list, err := client.List[*discoveryv1.EndpointSlice](t.Context(), c, client.Query{})
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, s := range list {
			ref := metav1.GetControllerOf(s)
			if ref == nil || ref.Kind != "Endpoints" || s.Labels["team"] != "a" || s.Annotations[corev1.LastAppliedConfigAnnotation] != "" || s.Annotations["note"] != "b" {
				t.Errorf("metadata of a slice: %+v", s.ObjectMeta)
			}
			for _, e := range s.Endpoints {
				out = append(out, fmt.Sprintf("%s %s:%d %v", s.Labels[discoveryv1.LabelServiceName], e.Addresses[0], *s.Ports[0].Port, *e.Conditions.Ready))
			}
		}
		slices.Sort(out)
		return strings.Join(out, ", ")
	}
	expect := func(want string) {
		t.Helper()
		plane.Eventually(t, 10*time.Second, want, func() bool { return seen() == want })
	}
	address := func(ips ...string) (out []corev1.EndpointAddress) {
		for _, ip := range ips {
			out = append(out, corev1.EndpointAddress{IP: ip})
		}
		return out
	}
	endpoints := &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{
			Name: "db", Namespace: "ns", Labels: map[string]string{"team": "a"},
			Annotations: map[string]string{"note": "b", corev1.LastAppliedConfigAnnotation: "{}"},
		},
		Subsets: []corev1.EndpointSubset{
			{Addresses: address("192.0.2.1"), NotReadyAddresses: address("192.0.2.1", "192.0.2.2", "2001:db8::1"), Ports: []corev1.EndpointPort{{Port: 80}}},
			{Addresses: address("192.0.2.1"), Ports: []corev1.EndpointPort{{Port: 81}}},
		},
	}
	endpoints, err := client.Create(t.Context(), c, endpoints)
	if err != nil {
		t.Fatal(err)
	}
	expect("db 192.0.2.1:80 true, db 192.0.2.1:81 true, db 192.0.2.2:80 false")

	endpoints = endpoints.DeepCopy()
	endpoints.Subsets = []corev1.EndpointSubset{{Addresses: address("192.0.2.3"), Ports: []corev1.EndpointPort{{Port: 80}}}}
	if endpoints, err = client.Update(t.Context(), c, endpoints); err != nil {
		t.Fatal(err)
	}
	expect("db 192.0.2.3:80 true")

	skipped := endpoints.DeepCopy()
	skipped.Labels[discoveryv1.LabelSkipMirror] = "true"
	if skipped, err = client.Update(t.Context(), c, skipped); err != nil {
		t.Fatal(err)
	}
	expect("")
	endpoints = skipped.DeepCopy()
	delete(endpoints.Labels, discoveryv1.LabelSkipMirror)
	if _, err = client.Update(t.Context(), c, endpoints); err != nil {
		t.Fatal(err)
	}
	expect("db 192.0.2.3:80 true")

	if err := client.Delete[*corev1.Service](t.Context(), c, "ns", "db", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	expect("")
}
