package cli

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/weir-stream/weir/processor"
)

// passwordVariable holds the password: an argument would be seen by every user of the
// machine.
const passwordVariable = "WEIR_SASL_PASSWORD"

// Connection holds the flags that say how to reach Kafka.
type Connection struct {
	Brokers []string

	flags         *pflag.FlagSet
	tls           bool
	ca, cert, key string
	mechanism     string
	user          string
}

// Flags adds the flags.
func (c *Connection) Flags(f *pflag.FlagSet) {
	c.flags = f
	f.StringSliceVarP(&c.Brokers, "brokers", "b", []string{"localhost:9092"}, "`addresses` to begin with, comma-separated")
	f.BoolVar(&c.tls, "tls", false, "connect by TLS")
	f.StringVar(&c.ca, "tls-ca", "", "`file` with the certificates to trust (PEM); default: the system's")
	f.StringVar(&c.cert, "tls-cert", "", "`file` with a client certificate (PEM)")
	f.StringVar(&c.key, "tls-key", "", "`file` with the client certificate's key (PEM)")
	f.StringVar(&c.mechanism, "sasl", "", "`mechanism` to log in by: plain, scram-sha-256 or scram-sha-512; the password is taken from "+passwordVariable)
	f.StringVar(&c.user, "sasl-user", "", "`user` to log in as")
}

// Options are for a worker: what the flags say, and nothing for flags that were not given.
func (c *Connection) Options() (processor.Option, error) {
	var opts []processor.Option
	if c.flags.Changed("brokers") {
		opts = append(opts, processor.Brokers(c.Brokers...))
	}
	t, m, err := c.secure()
	if err != nil {
		return nil, err
	}
	if t != nil {
		opts = append(opts, processor.TLS(t))
	}
	if m != nil {
		opts = append(opts, processor.SASL(m))
	}
	return processor.Options(opts...), nil
}

// Kafka is for a client of one's own.
func (c *Connection) Kafka() ([]kgo.Opt, error) {
	opts := []kgo.Opt{kgo.SeedBrokers(c.Brokers...), kgo.ClientID("weir/cli")}
	t, m, err := c.secure()
	if t != nil {
		opts = append(opts, kgo.DialTLSConfig(t))
	}
	if m != nil {
		opts = append(opts, kgo.SASL(m))
	}
	return opts, err
}

// Args are the flags that were given, for a process of one's own; the password goes by
// the environment.
func (c *Connection) Args() []string {
	args := []string{"--brokers", strings.Join(c.Brokers, ",")}
	for _, name := range []string{"tls", "tls-ca", "tls-cert", "tls-key", "sasl", "sasl-user"} {
		if f := c.flags.Lookup(name); f != nil && f.Changed {
			args = append(args, "--"+name+"="+f.Value.String())
		}
	}
	return args
}

func (c *Connection) secure() (*tls.Config, sasl.Mechanism, error) {
	t, err := c.tlsConfig()
	if err != nil {
		return nil, nil, err
	}
	if c.mechanism == "" {
		if c.user != "" {
			return nil, nil, Usagef("--sasl-user without --sasl: say by which mechanism to log in")
		}
		return t, nil, nil
	}
	password, ok := os.LookupEnv(passwordVariable)
	if !ok || c.user == "" {
		return nil, nil, Usagef("--sasl %s needs --sasl-user and the password in %s", c.mechanism, passwordVariable)
	}
	switch c.mechanism {
	case "plain":
		return t, plain.Auth{User: c.user, Pass: password}.AsMechanism(), nil
	case "scram-sha-256":
		return t, scram.Auth{User: c.user, Pass: password}.AsSha256Mechanism(), nil
	case "scram-sha-512":
		return t, scram.Auth{User: c.user, Pass: password}.AsSha512Mechanism(), nil
	}
	return nil, nil, Usagef("--sasl %q: known are plain, scram-sha-256, scram-sha-512", c.mechanism)
}

func (c *Connection) tlsConfig() (*tls.Config, error) {
	if !c.tls {
		if c.ca != "" || c.cert != "" || c.key != "" {
			return nil, Usagef("--tls-ca, --tls-cert and --tls-key do nothing without --tls")
		}
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.ca != "" {
		pem, err := os.ReadFile(c.ca)
		if err != nil {
			return nil, fmt.Errorf("read --tls-ca: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, Hint(fmt.Errorf("--tls-ca %s holds no certificate", c.ca), "give a file in PEM format")
		}
	}
	if (c.cert == "") != (c.key == "") {
		return nil, &UsageError{errors.New("--tls-cert and --tls-key go together")}
	}
	if c.cert != "" {
		pair, err := tls.LoadX509KeyPair(c.cert, c.key)
		if err != nil {
			return nil, fmt.Errorf("read --tls-cert and --tls-key: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}
