package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// hostSettings are what the whole host needs. Redirects are sent if either the host-wide value or the link's says so; the
// links' own are 1 as a rule, so that taking the host-wide one away changes nothing for other links. The bridge must not send any:
// a pod would learn to bypass the host on its way to a neighbour, and they use up the rate that ICMP errors share.
var hostSettings = map[string]string{
	"net/ipv4/ip_forward":              "1",
	"net/ipv4/conf/all/send_redirects": "0",
}

func sysctlPath(key string) string { return "/proc/sys/" + key }

func readSysctl(key string) (string, error) {
	data, err := os.ReadFile(sysctlPath(key))
	if err != nil {
		return "", fmt.Errorf("cannot read kernel setting: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

func writeSysctl(key, value string) error {
	have, err := readSysctl(key)
	if err != nil || have == value {
		return err
	}
	if err := os.WriteFile(sysctlPath(key), []byte(value), 0); err != nil {
		return fmt.Errorf("cannot set kernel setting %s to %s: %w", key, value, err)
	}
	return nil
}

// looseReversePath lets a link take packets whose answer would leave by another one, as happens when one peer routes
// directly and the other encapsulates. The kernel uses the greater of this and the host-wide value, and 2 is loose.
func looseReversePath(link string) error {
	return writeSysctl("net/ipv4/conf/"+link+"/rp_filter", "2")
}

func noRedirects(link string) error {
	return writeSysctl("net/ipv4/conf/"+link+"/send_redirects", "0")
}

func settingsFile(dataDir string) string { return filepath.Join(dataDir, "network", "host.json") }

// setHost applies hostSettings and remembers what there was before the first time, for Cleanup.
func (b *Bridge) setHost() error {
	former := map[string]string{}
	for key := range hostSettings {
		var err error
		if former[key], err = readSysctl(key); err != nil {
			return err
		}
	}
	path := settingsFile(b.cfg.DataDir)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := writeRecord(path, former); err != nil {
			return err
		}
	} else if err != nil {
		return fmt.Errorf("cannot read former host settings: %w", err)
	}
	for key, value := range hostSettings {
		if err := writeSysctl(key, value); err != nil {
			return err
		}
	}
	return nil
}

// restoreSettings puts back what setHost remembered.
func restoreSettings(dataDir string) error {
	data, err := os.ReadFile(settingsFile(dataDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read former host settings: %w", err)
	}
	former := map[string]string{}
	if err := json.Unmarshal(data, &former); err != nil {
		return fmt.Errorf("cannot parse former host settings: %w", err)
	}
	var errs []error
	for key, value := range former {
		errs = append(errs, writeSysctl(key, value))
	}
	return errors.Join(errs...)
}
