package kind

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/duration"
)

// What kubectl shows for values that are not there.
const (
	noneText    = "<none>"
	unknownText = "<unknown>"
	unsetText   = "<unset>"
)

var metaDocs = metav1.ObjectMeta{}.SwaggerDoc()

// column is shown by default, wide only with -o wide.
func column(name, typ, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: typ, Description: description}
}

func wide(name, typ, description string) metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: name, Type: typ, Description: description, Priority: 1}
}

func nameColumn() metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: "Name", Type: "string", Format: "name", Description: metaDocs["name"]}
}

func ageColumn() metav1.TableColumnDefinition {
	return column("Age", "string", metaDocs["creationTimestamp"])
}

func createdColumn() metav1.TableColumnDefinition {
	return metav1.TableColumnDefinition{Name: "Created At", Type: "date", Description: metaDocs["creationTimestamp"]}
}

// templateColumns are the wide columns of kinds with a pod template.
func templateColumns(selector string) []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		wide("Containers", "string", "Names of each container in the template."),
		wide("Images", "string", "Images referenced by each container in the template."),
		wide("Selector", "string", selector),
	}
}

func age(obj metav1.Object, now time.Time) string { return since(obj.GetCreationTimestamp(), now) }

func since(t metav1.Time, now time.Time) string {
	if t.IsZero() {
		return unknownText
	}
	return duration.HumanDuration(now.Sub(t.Time))
}

func sinceMicro(t metav1.MicroTime, now time.Time) string {
	if t.IsZero() {
		return unknownText
	}
	return duration.HumanDuration(now.Sub(t.Time))
}

func createdAt(obj metav1.Object) string {
	return obj.GetCreationTimestamp().UTC().Format(time.RFC3339)
}

// containerCells returns the names and images of containers, each separated by commas.
func containerCells(containers []corev1.Container) (names, images string) {
	n, i := make([]string, len(containers)), make([]string, len(containers))
	for at, c := range containers {
		n[at], i[at] = c.Name, c.Image
	}
	return strings.Join(n, ","), strings.Join(i, ",")
}

func formatLabels(set map[string]string) string { return labels.FormatLabels(set) }

// formatSelector prints a selector, or why it is none.
func formatSelector(s *metav1.LabelSelector) string { return metav1.FormatLabelSelector(s) }

func orNone(s string) string {
	if s == "" {
		return noneText
	}
	return s
}

func orUnset(s string) string {
	if s == "" {
		return unsetText
	}
	return s
}

// joinLimited joins at most limit of the items and says how many more there are.
func joinLimited(items []string, limit int) string {
	if len(items) <= limit {
		return strings.Join(items, ",")
	}
	return fmt.Sprintf("%s + %d more...", strings.Join(items[:limit], ","), len(items)-limit)
}

// noneIfEmpty returns what the store would give back of a list that is there and empty, for lists that are shown also when
// there is none.
func noneIfEmpty[T any](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	return list
}
