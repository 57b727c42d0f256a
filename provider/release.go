package provider

import (
	"archive/zip"
	"bufio"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap"
	"github.com/fairlead-io/terraform-provider-fairlead/bootstrap/ssh"
	"github.com/fairlead-io/terraform-provider-fairlead/internal/version"
)

const (
	// maxRelease bounds what is downloaded and what an archive may hold: some times the size of a release.
	maxRelease = 1 << 30
	// downloadTimeout covers an archive of 40 MB over a line of 1 Mbit a second.
	downloadTimeout = 6 * time.Minute
	programPrefix   = "terraform-provider-fairlead"
)

func releasesAttribute() schema.MapNestedAttribute {
	return schema.MapNestedAttribute{
		MarkdownDescription: "Release files for hosts of another platform than the one that Terraform runs on, by platform, such as `linux_arm64`. Hosts of the same platform get the provider itself.",
		Optional:            true,
		Validators: []validator.Map{mapvalidator.KeysAre(stringvalidator.RegexMatches(
			regexp.MustCompile(`^linux_[a-z0-9]+$`), "must be a platform of hosts, such as linux_arm64"))},
		NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
			"path": schema.StringAttribute{
				MarkdownDescription: "The release's zip archive on this machine, or the program out of it.",
				Optional:            true,
				Validators:          []validator.String{stringvalidator.ExactlyOneOf(path.MatchRelative().AtParent().AtName("url"))},
			},
			"url": schema.StringAttribute{
				MarkdownDescription: "Where to download it, `https://…`. It is kept in the user's cache folder.",
				Optional:            true,
				Validators:          []validator.String{stringvalidator.RegexMatches(regexp.MustCompile(`^https://[^/]+/.`), "must begin with https:// and name a file")},
			},
			"sha256": schema.StringAttribute{
				MarkdownDescription: "The file's SHA-256 checksum, as the release's `SHA256SUMS` has it. Nothing is sent to a host before it was compared.",
				Required:            true,
				Validators:          []validator.String{stringvalidator.RegexMatches(regexp.MustCompile(`^[0-9a-fA-F]{64}$`), "must be 64 hexadecimal digits")},
			},
		}},
	}
}

type releaseModel struct {
	Path   types.String `tfsdk:"path"`
	URL    types.String `tfsdk:"url"`
	SHA256 types.String `tfsdk:"sha256"`
}

// releases finds the program for a host. It is safe for concurrent use.
type releases struct {
	files   map[string]releaseModel // by platform, such as linux_arm64
	unknown bool
	cache   string // folder of downloads; empty: the user's
	client  *http.Client

	mu     sync.Mutex // held while a file is read, so that it is read once
	loaded map[string]bootstrap.Binary
}

// configureReleases reads the attribute, and looks whether files on this machine are there.
func configureReleases(ctx context.Context, m types.Map, diags *diag.Diagnostics) *releases {
	r := &releases{unknown: m.IsUnknown(), loaded: map[string]bootstrap.Binary{}, client: &http.Client{Timeout: downloadTimeout}}
	if m.IsNull() || r.unknown {
		return r
	}
	diags.Append(m.ElementsAs(ctx, &r.files, false)...)
	for platform, f := range r.files {
		if f.Path.IsNull() || f.Path.IsUnknown() {
			continue
		}
		info, err := os.Stat(expandHome(f.Path.ValueString()))
		if err == nil && !info.Mode().IsRegular() {
			err = fmt.Errorf("%s is not a file", f.Path.ValueString())
		}
		if err != nil {
			diags.AddAttributeError(path.Root("releases").AtMapKey(platform).AtName("path"), "Release file is not there", err.Error())
		}
	}
	return r
}

// promised is the program that a host of the platform will get, as far as that is known without reading it.
func (r *releases) promised(os, arch string) bootstrap.Binary {
	if _, ok := r.files[os+"_"+arch]; ok || r.unknown {
		return bootstrap.Binary{OS: os, Arch: arch}
	}
	return bootstrap.Binary{OS: runtime.GOOS, Arch: runtime.GOARCH}
}

// binaryFor returns the program for the host: the provider itself where it can run there, or the release file of the
// host's platform. Without one it is the provider all the same; the check of the host then says what is missing, with
// all else that is.
func (r *releases) binaryFor(ctx context.Context, conn ssh.Conn) (bootstrap.Binary, error) {
	own, err := ownBinary()
	if err != nil {
		return own, err
	}
	os, arch, err := bootstrap.Platform(ctx, conn)
	if err != nil || os == own.OS && arch == own.Arch {
		return own, err
	}
	if r.unknown {
		return own, errors.New("cannot choose the program for the host: the provider's releases are not known yet")
	}
	f, ok := r.files[os+"_"+arch]
	if !ok {
		return own, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	platform := os + "_" + arch
	if b, ok := r.loaded[platform]; ok {
		return b, nil
	}
	b, err := r.load(ctx, f, arch)
	if err != nil {
		return own, &releaseError{platform, err}
	}
	b.OS, b.Arch, b.Version = os, arch, version.String()
	r.loaded[platform] = b
	return b, nil
}

// releaseError is a release file that cannot go to hosts of its platform. Trying again helps where it could not be
// downloaded.
type releaseError struct {
	platform string
	err      error
}

func (e *releaseError) Error() string {
	return fmt.Sprintf("cannot use releases[%q] of the provider: %v", e.platform, e.err)
}
func (e *releaseError) Unwrap() error { return e.err }

// load compares the file with its checksum, finds the program in it, and looks whether that is one for the architecture
// and of this version, as far as it can be seen: the rest shows when the host runs it.
func (r *releases) load(ctx context.Context, f releaseModel, arch string) (bootstrap.Binary, error) {
	if f.Path.IsUnknown() || f.URL.IsUnknown() || f.SHA256.IsUnknown() {
		return bootstrap.Binary{}, errors.New("it is not known yet")
	}
	want := strings.ToLower(f.SHA256.ValueString())
	name := expandHome(f.Path.ValueString())
	if f.Path.IsNull() {
		var err error
		if name, err = r.download(ctx, f.URL.ValueString(), want); err != nil {
			return bootstrap.Binary{}, err
		}
	}
	got, err := sumFile(name)
	if err != nil {
		return bootstrap.Binary{}, err
	}
	if got != want {
		return bootstrap.Binary{}, fmt.Errorf("file %s has the checksum %s, and sha256 is %s", name, got, want)
	}
	b := bootstrap.Binary{Path: name, SHA256: got, Release: true}
	archive, err := zip.OpenReader(name)
	if errors.Is(err, zip.ErrFormat) {
		return b, checkProgram(name, arch)
	}
	if err != nil {
		return b, err
	}
	defer archive.Close()
	for _, m := range archive.File {
		if !strings.HasPrefix(m.Name, programPrefix) {
			continue
		}
		if has, ok := strings.CutPrefix(m.Name, programPrefix+"_v"); ok && has != version.String() {
			return b, fmt.Errorf("archive %s has version %s, and this provider is %s: give the release file of %[3]s", name, has, version.String())
		}
		b.Member = m.Name
		in, err := m.Open()
		if err != nil {
			return b, err
		}
		defer in.Close()
		program := bufio.NewReader(in)
		if err := checkArch(program, arch); err != nil {
			return b, fmt.Errorf("%s in archive %s %w", m.Name, name, err)
		}
		b.SHA256, err = sum(program)
		return b, err
	}
	return b, fmt.Errorf("archive %s has no %s in it", name, programPrefix)
}

func checkProgram(name, arch string) error {
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("cannot read release file: %w", err)
	}
	defer f.Close()
	if err := checkArch(bufio.NewReader(f), arch); err != nil {
		return fmt.Errorf("file %s %w", name, err)
	}
	return nil
}

// architectures are those that a program's header can name, as Go calls them.
var architectures = map[elf.Machine]string{
	elf.EM_X86_64: "amd64", elf.EM_AARCH64: "arm64", elf.EM_ARM: "arm", elf.EM_386: "386", elf.EM_RISCV: "riscv64",
	elf.EM_PPC64: "ppc64le", elf.EM_S390: "s390x", elf.EM_LOONGARCH: "loong64",
}

// checkArch wants a Linux program for the architecture. It looks at the beginning only, and leaves it to be read.
func checkArch(program *bufio.Reader, arch string) error {
	const machineAt = 18 // two bytes, in the program's own order
	head, err := program.Peek(machineAt + 2)
	if err != nil || string(head[:4]) != elf.ELFMAG {
		return errors.New("is no program for Linux")
	}
	var order binary.ByteOrder = binary.LittleEndian
	if elf.Data(head[elf.EI_DATA]) == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	machine := elf.Machine(order.Uint16(head[machineAt:]))
	if has := architectures[machine]; has != "" && has != arch {
		return fmt.Errorf("is a program for %s", has)
	}
	return nil
}

// download returns the file in the cache, which it fetches when it is not there as it should be.
func (r *releases) download(ctx context.Context, url, want string) (_ string, err error) {
	dir := r.cache
	if dir == "" {
		if dir, err = os.UserCacheDir(); err != nil {
			return "", fmt.Errorf("cannot keep downloads: %w", err)
		}
		dir = filepath.Join(dir, programPrefix)
	}
	name := filepath.Join(dir, want)
	if got, err := sumFile(name); err == nil && got == want {
		return name, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", fmt.Errorf("cannot download %s: %w", url, err)
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return "", fmt.Errorf("cannot download: %w", err) // it names the URL
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("cannot download %s: %s", url, resp.Status)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("cannot keep download: %w", err)
	}
	f, err := os.CreateTemp(dir, "download-")
	if err != nil {
		return "", fmt.Errorf("cannot keep download: %w", err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, h), io.LimitReader(resp.Body, maxRelease))
	if err = errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("cannot download %s: %w", url, err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != want {
		return "", fmt.Errorf("what is at %s has the checksum %s, and sha256 is %s", url, got, want)
	}
	if err := os.Rename(f.Name(), name); err != nil {
		return "", fmt.Errorf("cannot keep download: %w", err)
	}
	return name, nil
}

func sumFile(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("cannot read release file: %w", err)
	}
	defer f.Close()
	return sum(f)
}

func sum(in io.Reader) (string, error) {
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(in, maxRelease)); err != nil {
		return "", fmt.Errorf("cannot read release file: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
