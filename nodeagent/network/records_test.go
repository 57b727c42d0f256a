package network

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// A record that can not be trusted stops the start: to go on would give an address twice.
func TestRecordsThatAreRefused(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"torn":      {"a.json": `{"uid":"a","addr`},
		"no uid":    {"a.json": `{"address":"10.244.1.2"}`},
		"no addr":   {"a.json": `{"uid":"a"}`},
		"two of it": {"a.json": `{"uid":"a","address":"10.244.1.2"}`, "b.json": `{"uid":"b","address":"10.244.1.2"}`},
	} {
		dir := t.TempDir()
		for file, text := range files {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := openRecords(dir, netip.MustParsePrefix("10.244.1.0/24")); err == nil || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: error %v, want one that names the file", name, err)
		}
	}
}

// An address rests: the next pod does not get the one that was freed last.
func TestAddressesGoRound(t *testing.T) {
	r, err := openRecords(t.TempDir(), netip.MustParsePrefix("10.244.1.0/29"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for range 7 {
		rec, _, err := r.acquire(Pod{UID: "a"})
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, rec.Address.String()[len("10.244.1."):])
		if err := r.release("a"); err != nil {
			t.Fatal(err)
		}
	}
	if text := strings.Join(got, " "); text != "2 3 4 5 6 2 3" {
		t.Errorf("addresses %s", text)
	}
}

func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"uid":"a","namespace":"n","name":"p","address":"10.244.1.2","ports":[{"HostIP":"192.0.2.1","HostPort":80,"ContainerPort":80,"Protocol":"TCP"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		rec, err := parseRecord(data)
		if err != nil {
			return
		}
		if len(rec.Ports) == 0 {
			rec.Ports = nil // none is written in one way only
		}
		again, err := json.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := parseRecord(again); err != nil || !reflect.DeepEqual(back, rec) {
			t.Errorf("%+v is read back as %+v, %v", rec, back, err)
		}
	})
}
