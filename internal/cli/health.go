package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// healthLimit is the time that a server has for an answer. It is longer than that of its probes.
const healthLimit = 15 * time.Second

// httpListenVariable is the setting http-listen in the environment.
const httpListenVariable = "DIRSTORAGE_HTTP_LISTEN"

func newHealth(e *env) *cobra.Command {
	var live bool
	c := &cobra.Command{
		Use:         "health [ADDRESS]",
		Annotations: interruptible("nothing was changed; run it again"),
		SuggestFor:  []string{"healthcheck", "ready", "ping"},
		Short:       "Ask a running server whether it is ready",
		Long: `Ask the HTTP listener of a server whether clients can use all of its storages; with
--live, whether the process is stuck. The status is 0 or 1, for health checks of
containers. ADDRESS is that of the setting http-listen, with https:// before it if
http-tls is set, and then any certificate is taken; without ADDRESS,
` + httpListenVariable + ` in the environment is asked.`,
		Example: `  dirstorage health 127.0.0.1:9818
  dirstorage health https://127.0.0.1:9818
  dirstorage health --live :9818`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			address := e.Getenv(httpListenVariable)
			if len(args) == 1 {
				address = args[0]
			}
			if address == "" {
				return hint(usage("there is no ADDRESS"), "give that of the setting http-listen of the server, or set %s", httpListenVariable)
			}
			path := "/ready"
			if live {
				path = "/live"
			}
			return e.askHealth(c.Context(), address, path)
		},
	}
	c.Flags().BoolVar(&live, "live", false, "ask whether the process is stuck, not whether it is ready")
	return c
}

// askHealth asks one probe and prints its answer.
func (e *env) askHealth(ctx context.Context, address, path string) error {
	scheme, given := "http", address
	if rest, ok := strings.CutPrefix(address, "https://"); ok {
		scheme, address = "https", rest
	}
	if !strings.Contains(address, ":") {
		address = ":" + address
	}
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return noAddress(given)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	ctx, cancel := context.WithTimeout(ctx, healthLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+net.JoinHostPort(host, port)+path, nil)
	if err != nil {
		return usage("%w", err)
	}
	// No proxy: the server is on this machine, or in the same cluster.
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // the answer is no secret, and the name is mostly 127.0.0.1
	}}
	answer, err := client.Do(request)
	if err != nil {
		return healthAdvice(ctx, scheme, err)
	}
	const most = 64 << 10
	text, err := io.ReadAll(io.LimitReader(answer.Body, most))
	if err = errors.Join(err, answer.Body.Close()); err != nil {
		return err
	}
	said := strings.TrimSpace(string(text))
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s%s answers %s: %s", address, path, answer.Status, said)
	}
	_, err = fmt.Fprintln(e.Stdout, said)
	return err
}

// noAddress is the error about an argument that is no address.
func noAddress(given string) error {
	err := usage("%q: want host:port or a port", given)
	if exists(given) {
		return hint(err, "health asks a server by the address of its setting http-listen; dirstorage status %s looks at a storage", shellWord(given))
	}
	return hint(err, "give the address of the setting http-listen of the server, such as 127.0.0.1:9818")
}

// healthAdvice adds to the error of a probe its probable cause.
func healthAdvice(ctx context.Context, scheme string, err error) error {
	_, notTLS := errors.AsType[tls.RecordHeaderError](err)
	_, noHost := errors.AsType[*net.DNSError](err)
	switch {
	case context.Cause(ctx) != nil && !errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return hint(err, "the server did not answer within %s: look at its log, and whether the machine is busy", healthLimit)
	case errors.Is(err, syscall.ECONNREFUSED):
		return hint(err, "nothing listens there: look whether the server runs, and whether its setting http-listen has this address; clients have another port")
	case noHost:
		return hint(err, "look whether the name of the host is right")
	case notTLS, strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return hint(err, "the server speaks no TLS there: leave out https://")
	case scheme == "http" && errors.Is(err, io.EOF):
		return hint(err, "it is perhaps not the HTTP listener: clients have another port; with http-tls the address begins with https://")
	}
	return hint(err, "look whether the server runs, and whether the address is that of its setting http-listen")
}
