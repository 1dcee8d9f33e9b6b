package changelog

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Names inside a state directory; FORMAT.md, section "State directory".
const (
	lockName  = "LOCK"
	stateName = "STATE.json"
	rowsName  = "rows"

	dirFormat = 1
)

// dirState is STATE.json. Rows may be trusted if the last user of the directory closed
// it (Clean), or if the machine has not been started anew since (Boot): an unclean end
// of the process alone loses nothing, because the kernel still has every page written.
type dirState struct {
	Format      int    `json:"format"`
	Application string `json:"application"`
	Instance    string `json:"instance,omitempty"`
	Boot        string `json:"boot"`
	Clean       bool   `json:"clean"`
}

// stateDir is a locked state directory.
type stateDir struct {
	path    string
	lock    *os.File
	state   dirState
	trusted bool // the rows found may be used
}

// openDir creates or takes the directory and locks it. boot is the id of the running
// machine's life.
func openDir(path, application, boot string) (_ *stateDir, err error) {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, dirError(path, "create", err)
	}
	d, err := lockDir(path, application, boot)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = d.lock.Close()
		}
	}()
	if !d.trusted {
		if err := os.RemoveAll(d.rows()); err != nil {
			return nil, dirError(d.path, "remove untrusted rows", err)
		}
	}
	if err := d.removeEmpty(); err != nil {
		return nil, dirError(d.path, "remove empty files", err)
	}
	d.state.Boot, d.state.Clean = boot, false
	if err := d.save(); err != nil {
		return nil, dirError(d.path, "write "+stateName, err)
	}
	return d, nil
}

// lockDir locks a directory and looks whose it is and whether its rows may be used. Of
// what is there it changes nothing.
func lockDir(path, application, boot string) (_ *stateDir, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	d := &stateDir{path: path}
	d.lock, err = os.OpenFile(filepath.Join(path, lockName), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, dirError(path, "lock", err)
	}
	defer func() {
		if err != nil {
			_ = d.lock.Close()
		}
	}()
	if err := unix.Flock(int(d.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, &LockedError{Dir: path, PID: readPID(d.lock.Name())}
		}
		return nil, dirError(path, "lock", err)
	}
	if err := writePID(d.lock); err != nil {
		return nil, dirError(path, "write lock file", err)
	}
	found, err := readState(filepath.Join(path, stateName))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(d.rows()); err == nil { // STATE.json is always written first
			return nil, fmt.Errorf("state directory %s: %q exists but not %s, so it is not known whose it is: remove it, or choose another directory", path, rowsName, stateName)
		}
		d.state = dirState{Format: dirFormat, Application: application}
	case err != nil:
		return nil, dirError(path, "read "+stateName, err)
	case found.Format > dirFormat:
		return nil, &NewerError{Dir: path, Found: found.Format, Supported: dirFormat}
	case found.Application != application:
		return nil, &ForeignError{Dir: path, Application: application, Found: found.Application}
	default:
		d.state = found
		d.trusted = found.Clean || found.Boot == boot && boot != "" || planted("trust the disk after a crash")
	}
	return d, nil
}

// removeEmpty removes log files that Badger had created but not given a size when the
// process was killed: there is nothing in them, and Badger refuses to open over one.
func (d *stateDir) removeEmpty() error {
	for _, pattern := range []string{"*.mem", "*.vlog"} {
		found, err := filepath.Glob(filepath.Join(d.rows(), pattern))
		if err != nil {
			return err
		}
		for _, name := range found {
			info, err := os.Stat(name)
			if err != nil {
				return err
			}
			if info.Size() > 0 {
				continue
			}
			if err := os.Remove(name); err != nil {
				return err
			}
		}
	}
	return nil
}

// instanceID returns the directory's random id and makes one at first use.
func (d *stateDir) instanceID() (string, error) {
	if d.state.Instance == "" {
		var id [8]byte
		_, _ = rand.Read(id[:]) // never fails
		d.state.Instance = hex.EncodeToString(id[:])
		if err := d.save(); err != nil {
			d.state.Instance = ""
			return "", dirError(d.path, "write "+stateName, err)
		}
	}
	return d.state.Instance, nil
}

// close unlocks. clean means that all rows are on stable storage, see syncTree.
func (d *stateDir) close(clean bool) error {
	var err error
	if clean {
		if err = syncTree(d.rows()); err == nil {
			d.state.Clean = true
			err = d.save()
		}
	}
	return errors.Join(err, d.lock.Close()) // closing the file drops the lock
}

func (d *stateDir) rows() string { return filepath.Join(d.path, rowsName) }

// save replaces STATE.json so that a crash at any point leaves the old or the new one.
func (d *stateDir) save() error {
	b, err := json.Marshal(d.state)
	if err != nil {
		return err
	}
	name := filepath.Join(d.path, stateName)
	f, err := os.OpenFile(name+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(name+".tmp", name); err != nil {
		return err
	}
	return syncFile(d.path)
}

func readState(name string) (s dirState, err error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("%s is damaged (%w): remove the directory, its state is rebuilt from Kafka", name, err)
	}
	return s, nil
}

// free returns the bytes that an unprivileged process may still write at path.
func free(path string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, fmt.Errorf("free space of %s: %w", path, err)
	}
	return st.Bavail * uint64(st.Bsize), nil
}

// checkFree fails when less than reserve is free. Badger maps sparse files: writing into
// one on a full disk kills the process with SIGBUS, so the question comes before the write.
func checkFree(path string, reserve uint64) error {
	n, err := free(path)
	if err != nil {
		return err
	}
	if n < reserve {
		return &DiskFullError{Dir: path, Free: n, Reserve: reserve}
	}
	return nil
}

// bootID names the life of this machine; empty where the kernel does not say.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// probe says what the system has against writing into a directory.
func probe(dir string) error {
	f, err := os.CreateTemp(dir, "probe-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

func dirError(dir, op string, err error) error {
	if errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOTDIR) {
		return &ReadOnlyError{Dir: dir, Err: err}
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		n, _ := free(dir)
		return &DiskFullError{Dir: dir, Free: n}
	}
	return fmt.Errorf("state directory %s: %s: %w", dir, op, err)
}

func readPID(name string) int {
	b, err := os.ReadFile(name)
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}

func writePID(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// syncTree puts every file below dir on stable storage: SyncWrites is off while the
// store runs, so only this makes a clean end survive a power cut.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return syncFile(path)
	})
}

func syncFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
