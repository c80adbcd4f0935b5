package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/dirstorage/dirstorage/internal/engine"
	"github.com/dirstorage/dirstorage/internal/transfer"
	"github.com/dirstorage/dirstorage/internal/zeoclient"
	"github.com/dirstorage/dirstorage/zodb"
)

// dialTimeout is how long a server may take to accept a connection and to
// register it, in seconds.
const dialTimeout = 30 * time.Second

// dialServer connects to a server.
func dialServer(ctx context.Context, z zeoclient.Options) (*zeoclient.Client, error) {
	limited, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	c, err := zeoclient.Dial(limited, z)
	if err != nil && ctx.Err() == nil {
		err = dialAdvice(z, err)
	}
	return c, err
}

// dialAdvice adds to the error of a connection its probable cause.
func dialAdvice(z zeoclient.Options, err error) error {
	_, notTLS := errors.AsType[tls.RecordHeaderError](err)
	silent := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, context.DeadlineExceeded)
	refused := errors.Is(err, syscall.ECONNREFUSED)
	_, foreign := errors.AsType[x509.HostnameError](err)
	_, unknown := errors.AsType[x509.UnknownAuthorityError](err)
	invalid, _ := errors.AsType[x509.CertificateInvalidError](err)
	remote, told := errors.AsType[*net.OpError](err)
	told = told && remote.Op == "remote error" // an alert of TLS
	switch {
	case invalid.Reason == x509.Expired && invalid.Cert != nil:
		return hint(err, "the certificate of the server is good from %s to %s: renew it (dirstorage certs renew), or look at the clock of this machine",
			invalid.Cert.NotBefore.UTC().Format(time.DateTime), invalid.Cert.NotAfter.UTC().Format(time.DateTime))
	case told:
		return hint(err, "%s", refusedCertificate(remote.Err))
	case foreign:
		return hint(err, "if that is the right server, --tls-server-name gives the name that its certificate is for")
	case unknown:
		return hint(err, "--tls-authenticate names the certificate of the server, or of the authority that issued it")
	case notTLS:
		return hint(err, "the server does not speak TLS there: leave --tls-... out, or give its port for TLS")
	case refused && z.DefaultPort:
		return hint(err, "the address has no port, and %s is the one of Python's servers; dirstorage serve has 8100 unless it was told another: zeo://HOST:8100", zeoclient.DefaultPort)
	case refused:
		return hint(err, "look whether the server runs, and at which address it listens: it says so when it starts")
	case silent && z.TLS == nil && z.Network != "unix":
		return hint(err, "the server said nothing: if it wants TLS, give --tls-certificate, --tls-key and --tls-authenticate; or it is not a ZEO server")
	}
	return err
}

// serverOptions are those for the connection to the source.
func (o *importCommand) serverOptions() (zeoclient.Options, error) {
	z, err := zeoclient.ParseURL(o.source)
	if err != nil {
		return z, usage("%w", err)
	}
	z.ReadOnly = true // so a server that allows nothing else is good enough
	z.Label = "dirstorage import"
	if o.follow {
		z.Label += " --follow"
	}
	return z, o.tls.apply(&z)
}

// runServer is run for a source that is a server.
func (o *importCommand) runServer(ctx context.Context, e *env, options transfer.ImportOptions) error {
	if options.Blobs != nil {
		return usage("--blobs is for a Data.fs, and a server sends the blobs itself; leave it out")
	}
	if o.renumber {
		return usage("--renumber is for a Data.fs, and the tids of a server only grow; leave it out")
	}
	z, err := o.serverOptions()
	if err != nil {
		return err
	}
	// Before HOME is made, so that a wrong address leaves nothing behind.
	c, err := dialServer(ctx, z)
	if err != nil {
		return err
	}
	defer c.Close()
	s, err := o.openWithRoom(ctx, e, func() (transfer.Room, error) { return transfer.RoomOfServer(ctx, c, o.intoBundles()) })
	if err != nil {
		return err
	}
	m := newMeter(e)
	so := transfer.ServerOptions{Policy: options.Policy, Progress: m.show, Salvage: o.salvage}
	var done transfer.Imported
	if o.follow {
		c.Close()
		done, err = o.followServer(ctx, e, s, z, m, so)
	} else {
		var target transfer.Target
		if so.Load = o.load(ctx, e, &s); s != nil {
			target = s
		}
		done, err = transfer.ImportServer(ctx, target, c, so)
	}
	m.end()
	err = errors.Join(err, closeShown(e, s))
	return o.blobAdvice(e, m, done, err, "leave blobs out")
}

func (o *importCommand) followServer(ctx context.Context, e *env, s *engine.Storage, z zeoclient.Options, m *meter, so transfer.ServerOptions) (transfer.Imported, error) {
	f := newFollowing(o, e, m)
	f.answer(s)
	done, err := transfer.Follow(ctx, s, func(ctx context.Context, onInvalidate func(zodb.TID, []zodb.OID)) (*zeoclient.Client, error) {
		z.OnInvalidate = onInvalidate
		return dialServer(ctx, z)
	}, transfer.FollowOptions{ServerOptions: so, Report: f.report, Lost: f.lost})
	return done, f.end(ctx, err)
}
