package kafkatest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DefaultImage is run where KAFKA_IMAGE names no other.
const DefaultImage = "apache/kafka:" + Version

func image() string {
	if i := os.Getenv("KAFKA_IMAGE"); i != "" {
		return i
	}
	return DefaultImage
}

// engineWay runs brokers as containers, by the docker program: whatever DOCKER_HOST or a docker context says holds here.
type engineWay struct {
	image string
	host  bool // containers share this machine's network
}

func (engineWay) name() string { return "container" }

func docker(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", args[0], err, strings.TrimSpace(errs.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

func findEngine(ctx context.Context) (way, error) {
	if _, err := exec.LookPath("docker"); err != nil {
		return nil, errors.New("docker is not installed")
	}
	ask, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := docker(ask, "version", "--format", "{{.Server.Version}}"); err != nil {
		return nil, err
	}
	w := engineWay{image: image(), host: os.Getenv("WEIR_DOCKER_NETWORK") == "host"}
	if _, err := docker(ask, "image", "inspect", "--format", "{{.Id}}", w.image); err == nil {
		return w, nil
	}
	pull, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if _, err := docker(pull, "pull", "-q", w.image); err != nil {
		return nil, fmt.Errorf("%w (deploy/kafka-image/build.sh builds an image locally; name it in KAFKA_IMAGE)", err)
	}
	return w, nil
}

func (w engineWay) build(ctx context.Context, c *Cluster, o Options) error {
	ports, err := freePorts(2 * o.Brokers)
	if err != nil {
		return err
	}
	name := filepath.Base(c.dir) // unique on this machine
	network := ""
	if !w.host {
		network = name
		if _, err := docker(ctx, "network", "create", "--label", "weir.kafkatest", network); err != nil {
			return fmt.Errorf("%w (an engine without a bridge: set WEIR_DOCKER_NETWORK=host)", err)
		}
	}
	id := clusterID()
	var voters []string
	for i := range o.Brokers {
		c.addrs = append(c.addrs, fmt.Sprintf("127.0.0.1:%d", ports[2*i]))
		if w.host {
			voters = append(voters, fmt.Sprintf("%d@127.0.0.1:%d", i, ports[2*i+1]))
		} else {
			voters = append(voters, fmt.Sprintf("%d@%s-%d:9093", i, name, i))
		}
	}
	for i := range o.Brokers {
		n := &containerNode{name: fmt.Sprintf("%s-%d", name, i), image: w.image, network: network, port: ports[2*i],
			out: filepath.Join(c.dir, fmt.Sprintf("broker-%d.log", i)), done: make(chan struct{})}
		s := settings(o)
		s["node.id"] = strconv.Itoa(i)
		s["controller.quorum.voters"] = strings.Join(voters, ",")
		s["log.dirs"] = "/var/lib/kafka/data"
		if w.host {
			s["listeners"] = fmt.Sprintf("PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d", ports[2*i], ports[2*i+1])
		} else {
			s["listeners"] = fmt.Sprintf("PLAINTEXT://:%d,INTERNAL://:9092,CONTROLLER://:9093", ports[2*i])
			s["advertised.listeners"] = fmt.Sprintf("PLAINTEXT://127.0.0.1:%d,INTERNAL://%s:9092", ports[2*i], n.name)
			s["inter.broker.listener.name"] = "INTERNAL"
		}
		n.env = append(n.env, "CLUSTER_ID="+id, "KAFKA_HEAP_OPTS="+strings.Join(o.jvm(), " "))
		for k, v := range s {
			// The image's rule: dots are underscores. None of our settings holds a dash or an underscore.
			n.env = append(n.env, "KAFKA_"+strings.ToUpper(strings.ReplaceAll(k, ".", "_"))+"="+v)
		}
		slices.Sort(n.env)
		c.nodes = append(c.nodes, n)
	}
	c.tools = containerTools{c.nodes[0].(*containerNode)}
	return nil
}

// containerNode is one broker container. It is created at the first start and started again after that, with its data.
type containerNode struct {
	name, image, network, out string
	port                      int
	env                       []string
	created                   bool
	logged                    *exec.Cmd
	guard                     io.Closer
	done                      chan struct{} // closed when the container was removed
}

func (n *containerNode) start(ctx context.Context) error {
	if n.created {
		if _, err := docker(ctx, "start", n.name); err != nil {
			return err
		}
		return n.follow()
	}
	args := []string{"create", "--name", n.name, "--label", "weir.kafkatest"}
	if n.network == "" {
		args = append(args, "--network", "host")
	} else {
		args = append(args, "--network", n.network, "-p", fmt.Sprintf("127.0.0.1:%d:%d", n.port, n.port))
	}
	for _, e := range n.env {
		args = append(args, "-e", e)
	}
	if _, err := docker(ctx, append(args, n.image)...); err != nil {
		return err
	}
	n.created = true
	command := "{ docker rm -f -v " + n.name + "; docker network rm " + n.network + "; }"
	g, err := guard(command, n.done)
	if err != nil {
		return err
	}
	n.guard = g
	if _, err := docker(ctx, "start", n.name); err != nil {
		return err
	}
	return n.follow()
}

// follow copies what the container prints from now on into the log file; it ends when the container stops.
func (n *containerNode) follow() error {
	f, err := os.OpenFile(n.out, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("log of the broker: %w", err)
	}
	defer f.Close()
	cmd := exec.Command("docker", "logs", "-f", "--since", time.Now().Add(-time.Second).Format(time.RFC3339Nano), n.name)
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		return err
	}
	n.logged = cmd
	return nil
}

func (n *containerNode) alive() bool {
	if !n.created {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := docker(ctx, "inspect", "--format", "{{.State.Running}}", n.name)
	return err == nil && out == "true"
}

func (n *containerNode) logs() string { return n.out }

func (n *containerNode) signal(sig brokerSignal) error {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	var err error
	switch sig {
	case sigStop:
		_, err = docker(ctx, "pause", n.name)
		return err
	case sigCont:
		_, err = docker(ctx, "unpause", n.name)
		return err
	case sigTerm:
		_, err = docker(ctx, "stop", "-t", "60", n.name)
	case sigKill:
		if _, err = docker(ctx, "kill", n.name); err == nil {
			_, err = docker(ctx, "wait", n.name)
		}
	}
	if err == nil {
		n.logged.Wait()
	}
	return err
}

func (n *containerNode) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if n.created {
		docker(ctx, "rm", "-f", "-v", n.name)
	}
	if n.logged != nil {
		n.logged.Wait()
	}
	if n.network != "" {
		docker(ctx, "network", "rm", n.network) // the last node's succeeds
	}
	close(n.done)
}
