package kafkatest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// javaWay runs brokers as processes of this machine's Java.
type javaWay struct {
	java string // program
	jars string // directory with the jars of Apache Kafka
}

func (javaWay) name() string { return "java" }

func findJava(ctx context.Context) (way, error) {
	java, err := javaProgram(ctx)
	if err != nil {
		return nil, err
	}
	jars, err := kafkaJars(ctx)
	if err != nil {
		return nil, err
	}
	return javaWay{java: java, jars: jars}, nil
}

var javaVersion = regexp.MustCompile(`version "(\d+)`)

func javaProgram(ctx context.Context) (string, error) {
	java := "java"
	if home := os.Getenv("JAVA_HOME"); home != "" {
		java = filepath.Join(home, "bin", "java")
	}
	path, err := exec.LookPath(java)
	if err != nil {
		return "", fmt.Errorf("%s is not installed", java)
	}
	out, err := exec.CommandContext(ctx, path, "-version").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s -version: %w", path, err)
	}
	m := javaVersion.FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("%s -version does not name a version: %.80q", path, out)
	}
	if v, _ := strconv.Atoi(string(m[1])); v < 17 {
		return "", fmt.Errorf("%s is Java %d, Apache Kafka %s needs 17 or newer", path, v, Version)
	}
	return path, nil
}

func (w javaWay) build(_ context.Context, c *Cluster, o Options) error {
	ports, err := freePorts(2 * o.Brokers)
	if err != nil {
		return err
	}
	var voters []string
	for i := range o.Brokers {
		c.addrs = append(c.addrs, fmt.Sprintf("127.0.0.1:%d", ports[2*i]))
		voters = append(voters, fmt.Sprintf("%d@127.0.0.1:%d", i, ports[2*i+1]))
	}
	logging := filepath.Join(c.dir, "log4j2.xml")
	if err := os.WriteFile(logging, []byte(log4j2), 0o644); err != nil {
		return err
	}
	id := clusterID()
	for i := range o.Brokers {
		s := settings(o)
		s["node.id"] = strconv.Itoa(i)
		s["listeners"] = fmt.Sprintf("PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d", ports[2*i], ports[2*i+1])
		s["controller.quorum.voters"] = strings.Join(voters, ",")
		s["log.dirs"] = filepath.Join(c.dir, fmt.Sprintf("data-%d", i))
		n := &javaNode{
			way: w, cluster: id, jvm: o.jvm(),
			config: filepath.Join(c.dir, fmt.Sprintf("broker-%d.properties", i)),
			data:   s["log.dirs"], logging: logging,
			out: filepath.Join(c.dir, fmt.Sprintf("broker-%d.log", i)),
		}
		if err := os.WriteFile(n.config, []byte(properties(s)), 0o644); err != nil {
			return err
		}
		c.nodes = append(c.nodes, n)
	}
	c.tools = javaTools{w}
	return nil
}

func properties(s map[string]string) string {
	lines := make([]string, 0, len(s))
	for k, v := range s {
		lines = append(lines, k+"="+v+"\n")
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// clusterID is 16 random bytes in URL base64, which is how Kafka writes a UUID.
func clusterID() string {
	b := make([]byte, 16)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	b[0] = 'w' // Kafka refuses ids that begin with a dash
	return base64.RawURLEncoding.EncodeToString(b)
}

const log4j2 = `<Configuration status="WARN">
  <Appenders><Console name="out"><PatternLayout pattern="%d{ABSOLUTE} %p %c{1} %m%n"/></Console></Appenders>
  <Loggers><Root level="INFO"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>
`

func (w javaWay) command(args ...string) []string {
	return append([]string{w.java, "-cp", filepath.Join(w.jars, "*")}, args...)
}

// javaNode is one broker process. Its data directory is formatted at the first start only, so a restart keeps it.
type javaNode struct {
	way                        javaWay
	cluster                    string
	jvm                        []string
	config, data, logging, out string
	run                        *process
}

func (n *javaNode) start(ctx context.Context) error {
	if n.alive() {
		return errors.New("it runs already")
	}
	if _, err := os.Stat(filepath.Join(n.data, "meta.properties")); errors.Is(err, os.ErrNotExist) {
		args := n.way.command("-XX:TieredStopAtLevel=1", "-Dlog4j2.configurationFile="+n.logging,
			"kafka.tools.StorageTool", "format", "-t", n.cluster, "-c", n.config)
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("format %s: %w\n%s", n.data, err, out)
		}
	}
	run, err := startProcess(n.way.command(append(n.jvm, "-Dlog4j2.configurationFile="+n.logging, "kafka.Kafka", n.config)...), n.out, n.data)
	if err != nil {
		return err
	}
	n.run = run
	return nil
}

func (n *javaNode) alive() bool  { return n.run != nil && n.run.alive() }
func (n *javaNode) logs() string { return n.out }

func (n *javaNode) signal(sig brokerSignal) error {
	if !n.alive() {
		return errors.New("it does not run")
	}
	return n.run.signal(sig)
}

func (n *javaNode) close() {
	if n.alive() {
		n.run.signal(sigKill)
	}
	os.RemoveAll(n.data)
}
