package provider

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/version"
)

func checksum(data []byte) string {
	s := sha256.Sum256(data)
	return hex.EncodeToString(s[:])
}

// programFor is the beginning of a program for a machine, and something behind it.
func programFor(machine elf.Machine) []byte {
	head := make([]byte, 64)
	copy(head, elf.ELFMAG)
	head[elf.EI_CLASS], head[elf.EI_DATA] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB)
	binary.LittleEndian.PutUint16(head[18:], uint16(machine))
	return append(head, "code"...)
}

// zipped is a release's archive with the program under a name.
func zipped(t *testing.T, name string, program []byte) []byte {
	t.Helper()
	var archive bytes.Buffer
	z := zip.NewWriter(&archive)
	for name, data := range map[string][]byte{"LICENSE": []byte("text"), name: program} {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write(data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return archive.Bytes()
}

// TestReleases chooses programs for a host of another platform than this machine's.
func TestReleases(t *testing.T) {
	program := programFor(elf.EM_RISCV)
	member := "terraform-provider-fairlead_v" + version.String()
	archive := zipped(t, member, program)
	dir := t.TempDir()
	put := func(name string, data []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	release, plain := put("release.zip", archive), put("fairlead", program)
	arm, script := programFor(elf.EM_AARCH64), []byte("#!/bin/sh\nexec true\n")
	armZip, oldZip, otherZip := zipped(t, member, arm), zipped(t, "terraform-provider-fairlead_v0.0.9", program), zipped(t, "README.md", program)
	var asked atomic.Int32
	web := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.URL.Path != "/release.zip" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(archive)
	}))
	defer web.Close()

	text := types.StringValue
	null := types.StringNull()
	zipSum := text(strings.ToUpper(checksum(archive)))
	cache := t.TempDir()
	for _, c := range []struct {
		name string
		file *releaseModel
		want bootstrap.Binary // what differs from a release for the host
		err  string
	}{
		{"archive", &releaseModel{text(release), null, zipSum}, bootstrap.Binary{Path: release, Member: member}, ""},
		{"program", &releaseModel{text(plain), null, text(checksum(program))}, bootstrap.Binary{Path: plain}, ""},
		{"download", &releaseModel{null, text(web.URL + "/release.zip"), zipSum},
			bootstrap.Binary{Path: filepath.Join(cache, checksum(archive)), Member: member}, ""},
		{"download again", &releaseModel{null, text(web.URL + "/release.zip"), zipSum},
			bootstrap.Binary{Path: filepath.Join(cache, checksum(archive)), Member: member}, ""},
		{"not there", &releaseModel{null, text(web.URL + "/other.zip"), text(checksum(nil))}, bootstrap.Binary{}, "404"},
		{"wrong checksum", &releaseModel{text(release), null, text(checksum(program))}, bootstrap.Binary{}, "has the checksum " + checksum(archive)},
		{"wrong download", &releaseModel{null, text(web.URL + "/release.zip"), text(checksum(program))}, bootstrap.Binary{}, "has the checksum " + checksum(archive)},
		{"other architecture", &releaseModel{text(put("arm", arm)), null, text(checksum(arm))}, bootstrap.Binary{}, "arm is a program for arm64"},
		{"archive of another architecture", &releaseModel{text(put("arm.zip", armZip)), null, text(checksum(armZip))}, bootstrap.Binary{}, "arm.zip is a program for arm64"},
		{"other version", &releaseModel{text(put("old.zip", oldZip)), null, text(checksum(oldZip))}, bootstrap.Binary{}, "has version 0.0.9, and this provider is " + version.String()},
		{"another archive", &releaseModel{text(put("other.zip", otherZip)), null, text(checksum(otherZip))}, bootstrap.Binary{}, "has no terraform-provider-fairlead in it"},
		{"no program", &releaseModel{text(put("script", script)), null, text(checksum(script))}, bootstrap.Binary{}, "script is no program for Linux"},
		{"gone", &releaseModel{text(dir + "/gone"), null, zipSum}, bootstrap.Binary{}, "no such file"},
		{"unknown", &releaseModel{types.StringUnknown(), null, zipSum}, bootstrap.Binary{}, "not known yet"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &releases{files: map[string]releaseModel{"linux_riscv64": *c.file}, loaded: map[string]bootstrap.Binary{}, client: web.Client(), cache: cache}
			host := ssh.NewFake("192.0.2.12")
			host.Reply("uname", "Linux\nriscv64\n")
			got, err := r.binaryFor(t.Context(), host)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), `releases["linux_riscv64"]`) {
					t.Fatalf("it says %v", err)
				}
				return
			}
			c.want.SHA256, c.want.OS, c.want.Arch, c.want.Version, c.want.Release = checksum(program), "linux", "riscv64", version.String(), true
			if err != nil || got != c.want {
				t.Fatalf("got %+v, %v, want %+v", got, err, c.want)
			}
		})
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("the server was asked %d times", n)
	}
	if left, err := os.ReadDir(cache); err != nil || len(left) != 1 {
		t.Errorf("the cache has %v, %v", left, err)
	}
	host := ssh.NewFake("192.0.2.12")
	host.Reply("uname", "Linux\nppc64le\n")
	if got, err := (&releases{}).binaryFor(t.Context(), host); err != nil || got.Release {
		t.Errorf("without a release file: %+v, %v", got, err)
	}
}
