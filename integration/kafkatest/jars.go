package kafkatest

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// pom names what is copied: the broker and the command line tools, with all they depend on, and the binding by which
// they log, which Kafka's own packages leave to the distribution.
const pom = `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>weir</groupId><artifactId>kafka-jars</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>` + Version + `</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>` + Version + `</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>2.25.4</version></dependency>
  </dependencies>
</project>
`

// Jars returns the directory with the jars of Apache Kafka, fetched by Maven at the first call on a machine.
func Jars(ctx context.Context) (string, error) { return kafkaJars(ctx) }

func kafkaJars(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir() // no home directory, as in some containers
	}
	base := filepath.Join(cache, "weir")
	// The name says what is inside, so that a change of the list above makes a new directory.
	lib := filepath.Join(base, fmt.Sprintf("kafka-%s-%08x", Version, crc32.ChecksumIEEE([]byte(pom))))
	if ok, err := complete(lib); ok || err != nil {
		return lib, err
	}
	mvn, err := exec.LookPath("mvn")
	if err != nil {
		return "", errors.New("java is here but Maven (mvn) is not, which fetches Apache Kafka: on Debian, apt-get install maven")
	}
	if err := os.MkdirAll(base, 0o755); err != nil {
		return "", fmt.Errorf("cache for the jars of Apache Kafka: %w", err)
	}
	// Test binaries of several packages may come here at once; one fetches, the others wait for it.
	lock, err := os.OpenFile(lib+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", fmt.Errorf("cache for the jars of Apache Kafka: %w", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if ok, err := complete(lib); ok || err != nil {
		return lib, err
	}
	work, err := os.MkdirTemp(base, "fetch-")
	if err != nil {
		return "", fmt.Errorf("cache for the jars of Apache Kafka: %w", err)
	}
	defer os.RemoveAll(work)
	if err := os.WriteFile(filepath.Join(work, "pom.xml"), []byte(pom), 0o644); err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, mvn, "-B", "-q", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=lib")
	cmd.Dir = work
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("mvn dependency:copy-dependencies of Apache Kafka %s: %w\n%.2000s", Version, err, out)
	}
	// The rename is the commit: a directory of this name holds every jar.
	if err := os.Rename(filepath.Join(work, "lib"), lib); err != nil {
		return "", fmt.Errorf("cache for the jars of Apache Kafka: %w", err)
	}
	return lib, nil
}

func complete(lib string) (bool, error) {
	entries, err := os.ReadDir(lib)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cache for the jars of Apache Kafka: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "kafka-tools-") {
			return true, nil
		}
	}
	return false, fmt.Errorf("%s holds no jars of Apache Kafka: remove that directory", lib)
}
