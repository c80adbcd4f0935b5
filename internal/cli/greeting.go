package cli

import (
	"fmt"
	"io"
	"net"
	"net/url"

	"github.com/dirstorage/dirstorage/internal/config"
)

// greeting is what serve prints for a person: what to put into the
// configuration of the clients.
type greeting struct {
	conf    *config.Config
	address net.Addr
	made    []string // HOMEs that were made now
}

func writeGreeting(w io.Writer, g greeting) error {
	st := g.conf.Storages[0]
	server, uri := g.address.String(), "zeo://"+g.address.String()
	if g.address.Network() == "unix" {
		uri = "zeo://" + (&url.URL{Path: server}).String()
	}
	if st.Name != "1" {
		uri += "?storage=" + url.QueryEscape(st.Name)
	}
	for _, home := range g.made {
		if _, err := fmt.Fprintf(w, "made %s, a new and empty storage\n", home); err != nil {
			return err
		}
	}
	shared, sharedBuildout := "", ""
	if st.BlobDir != "" {
		shared = fmt.Sprintf("    blob-dir %s\n    shared-blob-dir on\n", st.BlobDir)
		sharedBuildout = fmt.Sprintf("blob-storage = %s\nshared-blob = on\n", st.BlobDir)
	} else {
		shared = "    blob-dir $INSTANCE/var/blobcache\n    shared-blob-dir off\n"
		sharedBuildout = "shared-blob = off\n"
	}
	_, err := fmt.Fprintf(w, `serving storage %[1]s of %[2]s on %[3]s

zope.conf, or the storage of any other ZODB configuration:

%%import ZEO
<zodb_db main>
  mount-point /
  <clientstorage>
    server %[3]s
    storage %[1]s
%[4]s  </clientstorage>
</zodb_db>

buildout, with plone.recipe.zope2instance:

[instance]
zeo-client = on
zeo-address = %[3]s
zeo-storage = %[1]s
%[5]s
plone-backend (container image):

  docker run -e ZEO_ADDRESS=%[3]s -e ZEO_STORAGE=%[1]s plone/plone-backend

URI, for Pyramid (zodburi) and others:

  %[6]s

Stop it with Ctrl-C.
`, st.Name, st.Home, server, shared, sharedBuildout, uri)
	return err
}
