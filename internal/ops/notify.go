package ops

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Notifier sends messages to systemd (sd_notify(3)). Where nobody has set
// NOTIFY_SOCKET, it does nothing. All methods may be called concurrently.
type Notifier struct {
	log *slog.Logger
}

// NewNotifier returns a notifier. A message that can't be sent is a warning in
// the log, and nothing else: it is systemd that will act upon its absence.
func NewNotifier(log *slog.Logger) *Notifier { return &Notifier{log: log} }

// Ready says that the start, or reading the configuration again, is done. Status is a
// text for systemctl status, as of Stopping.
func (n *Notifier) Ready(status string) { n.send(daemon.SdNotifyReady, statusLine(status)) }

// Reloading says that the configuration is read again; [Notifier.Ready] ends that.
func (n *Notifier) Reloading() {
	n.send(daemon.SdNotifyReloading, strings.TrimSpace(daemon.SdNotifyMonotonicUsec()))
}

// Stopping says that the process has begun to end.
func (n *Notifier) Stopping(status string) { n.send(daemon.SdNotifyStopping, statusLine(status)) }

// Extend asks for that much time from now, while a start that rolls much forward, or an
// end that flushes much, takes longer than TimeoutStartSec or TimeoutStopSec.
// It has to be repeated before that time is over.
func (n *Notifier) Extend(d time.Duration) {
	n.send(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", d.Microseconds()))
}

// statusLine keeps a text to one line, so that nothing in it is taken for
// another message.
func statusLine(text string) string {
	return "STATUS=" + strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

func (n *Notifier) send(lines ...string) {
	if _, err := daemon.SdNotify(false, strings.Join(lines, "\n")); err != nil {
		n.log.Warn("systemd could not be told", "message", lines[0], "err", err)
	}
}

// Watchdog tells systemd that the process is alive, twice in each WatchdogSec,
// as long as check finds nothing, see [Probe.Ask]. It returns when ctx ends, or at
// once if systemd does not expect to be told.
func (n *Notifier) Watchdog(ctx context.Context, check func(context.Context) error) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		n.log.Warn("no watchdog", "err", err)
		return
	}
	if interval > 0 {
		n.watch(ctx, interval/2, check, func() { n.send(daemon.SdNotifyWatchdog) })
	}
}

// watch calls alive at once and after each interval for which check finds nothing.
func (n *Notifier) watch(ctx context.Context, interval time.Duration, check func(context.Context) error, alive func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	quiet := false
	for {
		// A check that takes longer than this must not be followed by a message
		// that is already too late to mean something.
		limited, cancel := context.WithTimeout(ctx, interval)
		err := check(limited)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			alive()
		}
		switch {
		case err != nil && !quiet:
			n.log.Error("systemd is not told that the process is alive", "err", err)
		case err == nil && quiet:
			n.log.Info("systemd is told again that the process is alive")
		}
		quiet = err != nil
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
