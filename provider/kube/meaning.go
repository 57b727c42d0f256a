package kube

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

// sameText reports whether two texts mean the same value of kind k: "1000m" and "1", "60s" and "1m".
// A text that does not parse means only itself.
func sameText(k kind, a, b string) bool {
	if a == b {
		return true
	}
	switch k {
	case kindQuantity:
		qa, errA := resource.ParseQuantity(a)
		qb, errB := resource.ParseQuantity(b)
		return errA == nil && errB == nil && qa.Cmp(qb) == 0
	case kindIntOrString:
		ia, errA := parsePlainInt(a)
		ib, errB := parsePlainInt(b)
		return errA == nil && errB == nil && ia == ib
	case kindDuration:
		da, errA := time.ParseDuration(a)
		db, errB := time.ParseDuration(b)
		return errA == nil && errB == nil && da == db
	case kindTime:
		ta, errA := time.Parse(time.RFC3339Nano, a)
		tb, errB := time.Parse(time.RFC3339Nano, b)
		return errA == nil && errB == nil && ta.Equal(tb)
	case kindBytes:
		ba, errA := base64.StdEncoding.DecodeString(trimLines(a))
		bb, errB := base64.StdEncoding.DecodeString(trimLines(b))
		return errA == nil && errB == nil && bytes.Equal(ba, bb)
	case kindJSON:
		var ja, jb any
		return json.Unmarshal([]byte(a), &ja) == nil && json.Unmarshal([]byte(b), &jb) == nil && reflect.DeepEqual(ja, jb)
	default:
		return false
	}
}

// parsePlainInt parses what an IntOrString writes as a number.
func parsePlainInt(text string) (int64, error) { return strconv.ParseInt(text, 10, 32) }

// trimLines removes the line breaks that base64 tools and heredocs add.
func trimLines(text string) string {
	return strings.NewReplacer("\n", "", "\r", "").Replace(text)
}
