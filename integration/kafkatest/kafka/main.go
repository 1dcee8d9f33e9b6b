// Kafka starts a real Apache Kafka the way the tests do and prints its addresses, until it is interrupted:
//
//	go run ./integration/kafkatest/kafka -brokers 1
//
// With -check it only says which way the tests would take; with -jars it prints the directory that holds the jars of
// Apache Kafka, fetching them if need be; with -cmd it runs a command with KAFKA_BROKERS set, ends
// the brokers afterwards and exits as the command did.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/weir-stream/weir/integration/kafkatest"
)

func main() {
	if err := run(); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.ExitCode() > 0 {
			os.Exit(exit.ExitCode())
		}
		fmt.Fprintln(os.Stderr, "kafka:", err)
		os.Exit(1)
	}
}

func run() error {
	brokers := flag.Int("brokers", 1, "1 or 3")
	heap := flag.Int("heap", 0, "Java heap of each broker in MiB (default 512, with three brokers 384)")
	check := flag.Bool("check", false, "only say which Kafka the tests would use")
	jars := flag.Bool("jars", false, "only print the directory with the jars of Apache Kafka")
	cmd := flag.String("cmd", "", "shell command to run against the cluster")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *check {
		return report(ctx)
	}
	if *jars {
		dir, err := kafkatest.Jars(ctx)
		if err != nil {
			return err
		}
		fmt.Println(dir)
		return nil
	}
	c, err := kafkatest.Launch(ctx, kafkatest.Options{Brokers: *brokers, HeapMB: *heap, LongRun: true})
	if err != nil {
		return err
	}
	defer c.Close(false)
	addrs := strings.Join(c.Addrs(), ",")
	if *cmd == "" {
		fmt.Printf("%s\n", addrs)
		<-ctx.Done()
		return nil
	}
	sh := exec.CommandContext(ctx, "/bin/sh", "-c", *cmd)
	sh.Cancel = func() error { return sh.Process.Signal(syscall.SIGTERM) }
	sh.Env = append(os.Environ(), "KAFKA_BROKERS="+addrs)
	sh.Stdin, sh.Stdout, sh.Stderr = os.Stdin, os.Stdout, os.Stderr
	return sh.Run()
}

func report(ctx context.Context) error {
	found, err := kafkatest.Find(ctx)
	switch {
	case err == nil:
		fmt.Printf("real Kafka for the tests: %s\n", found)
		return nil
	case errors.Is(err, kafkatest.ErrNone) && os.Getenv("WEIR_REQUIRE_KAFKA") != "1":
		fmt.Printf("SKIPPED, the tests against a real Kafka: %v\n", err)
		return nil
	default:
		return err
	}
}
