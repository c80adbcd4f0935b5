package web

import (
	"net/http"
	"strconv"
)

// pack starts a pack of a storage, where the administrator has allowed that.
func (s *Site) pack(w http.ResponseWriter, r *http.Request) {
	name := r.PostFormValue("storage")
	if name == "" && len(s.o.Storages()) > 1 {
		s.fail(w, r, badRequest("storage: say which one"))
		return
	}
	st, err := s.storage(name)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if st.Pack == nil {
		s.fail(w, r, &failure{code: http.StatusForbidden, text: "pack: the settings do not allow it; add it to web-allow"})
		return
	}
	days, err := strconv.ParseUint(r.PostFormValue("days"), 10, 16)
	if err != nil {
		s.fail(w, r, badRequest("days %s: want a number of days, 0 to 65535", safe(r.PostFormValue("days"), 20)))
		return
	}
	if err := st.Pack(int(days)); err != nil {
		s.fail(w, r, &failure{code: http.StatusConflict, text: "pack: " + err.Error()})
		return
	}
	s.o.Logger.Info("a pack was asked for on the web page", "storage", st.Name, "days", days, "address", addressOf(r))
	http.Redirect(w, r, Root, http.StatusSeeOther)
}
