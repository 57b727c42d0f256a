package store

import (
	"fmt"
	"testing"
)

// What has labels is never passed over for them, and most that has not is.
func TestMarks(t *testing.T) {
	const objects = 200
	of := func(i int) map[string]string {
		return map[string]string{"app": fmt.Sprint("a", i), "tier": fmt.Sprint("t", i%3), "": ""}
	}
	mayHave := 0
	for i := range objects {
		marks := marksOf(of(i))
		for key, value := range of(i) {
			if !marks.has(marksOf(map[string]string{key: value})) {
				t.Fatalf("object %d has no %s=%s", i, key, value)
			}
		}
		if !marks.has(marks) || !marks.has(0) {
			t.Fatalf("object %d has not all it has, or not nothing", i)
		}
		if marks.has(marksOf(map[string]string{"app": "another", "tier": "t9"})) {
			mayHave++
		}
	}
	if mayHave > objects/2 {
		t.Errorf("%d of %d objects are looked at in vain", mayHave, objects)
	}
}
