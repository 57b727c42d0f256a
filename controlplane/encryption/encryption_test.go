package encryption

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestRoundTripRotationAndBinding(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys", "encryption.json")
	old := open(t, path)
	plain := []byte("k8s\x00 a secret")
	sealed, err := old.ToStorage("secrets", "/registry/core/secrets/a/b", plain)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(sealed, []byte("a secret")) {
		t.Fatal("the value is stored in the clear")
	}
	check := func(k *Keys, wantStale bool) {
		t.Helper()
		got, stale, err := k.FromStorage("secrets", "/registry/core/secrets/a/b", sealed)
		if err != nil || !bytes.Equal(got, plain) || stale != wantStale {
			t.Fatalf("got %q, stale %v, %v; want stale %v", got, stale, err, wantStale)
		}
	}
	check(old, false)
	check(open(t, path), false)

	if _, _, err := old.FromStorage("secrets", "/registry/core/secrets/other/b", sealed); err == nil {
		t.Error("a value was read in another object's place")
	}
	if _, _, err := old.FromStorage("secrets", "/registry/core/secrets/a/b", sealed[:len(sealed)-1]); err == nil {
		t.Error("a damaged value was read")
	}

	rotated := open(t, path)
	if err := rotated.rotate(time.Now()); err != nil {
		t.Fatal(err)
	}
	check(rotated, true)
	check(open(t, path), true)
	again, err := rotated.ToStorage("secrets", "k", plain)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := old.FromStorage("secrets", "k", again); err == nil {
		t.Error("a value under the new key was read without it")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v; want mode 0600", info, err)
	}
}

func TestOtherResourcesPass(t *testing.T) {
	k := open(t, filepath.Join(t.TempDir(), "encryption.json"))
	out, err := k.ToStorage("configmaps", "k", []byte("plain"))
	if err != nil || string(out) != "plain" {
		t.Fatalf("%q, %v", out, err)
	}
	if _, stale, err := k.FromStorage("configmaps", "k", out); stale || err != nil {
		t.Errorf("stale %v, %v", stale, err)
	}
	if _, stale, err := k.FromStorage("secrets", "k", []byte("written before encryption")); !stale || err != nil {
		t.Errorf("a secret in the clear: stale %v, %v; want it to be written again", stale, err)
	}
}

func open(t *testing.T, path string) *Keys {
	t.Helper()
	k, err := Open(path, "secrets")
	if err != nil {
		t.Fatal(err)
	}
	return k
}
