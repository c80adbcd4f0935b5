package web

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/dirstorage/dirstorage/internal/hometest"
	"github.com/dirstorage/dirstorage/zodb"
)

// faultsOfPage are rules for people with a keyboard or a screen reader, in a window of a width. Each line that
// it returns is a fault.
const faultsOfPage = `(asked => {
	const faults = [], all = s => [...document.querySelectorAll(s)];
	const say = (rule, e) => faults.push(rule + ": " + (e ? e.outerHTML.slice(0, 150) : ""));
	const seen = e => e.getClientRects().length > 0;
	if (all("h1").length !== 1) say("one h1");
	if (all("main").length !== 1) say("one main");
	if (all("body > header").length !== 1) say("one header");
	if (all("body > footer").length !== 1) say("one footer");
	if (!document.documentElement.lang) say("language");
	if (!document.title.trim()) say("title");
	let level = 0;
	for (const h of all("h1,h2,h3,h4,h5,h6")) {
		const n = +h.tagName[1];
		if (n > level + 1) say("a level of headings is left out", h);
		if (!h.textContent.trim()) say("an empty heading", h);
		level = n;
	}
	for (const e of all("input:not([type=hidden]), select, textarea, meter, progress"))
		if (!e.labels.length && !e.ariaLabel && !e.getAttribute("aria-labelledby")) say("a field without a label", e);
	for (const e of all("button, a[href]")) if (!e.textContent.trim() && !e.ariaLabel) say("a link or button without a text", e);
	for (const e of all("img")) if (!e.hasAttribute("alt")) say("a picture without a text", e);
	for (const e of all("table")) if (!e.caption || !e.caption.textContent.trim()) say("a table without a caption", e);
	for (const e of all("th")) if (!e.scope) say("a head of a table without a scope", e);
	for (const e of all("nav")) if (!e.ariaLabel) say("a navigation without a name", e);
	for (const e of all("[aria-labelledby],[aria-describedby]"))
		for (const id of (e.getAttribute("aria-labelledby") + " " + e.getAttribute("aria-describedby")).split(" "))
			if (id && id !== "null" && !document.getElementById(id)) say("a reference to nothing, " + id, e);
	const ids = all("[id]").map(e => e.id);
	ids.forEach((id, i) => { if (ids.indexOf(id) !== i) say("an id that is there twice, " + id); });
	for (const e of all("*")) {
		if (e.tabIndex > 0) say("a place in the order of its own", e);
		for (const a of e.attributes) if (/^on|^style$/.test(a.name) && !e.closest(".uplot")) say("inline " + a.name, e);
		const o = getComputedStyle(e).overflowX;
		if ((o === "auto" || o === "scroll") && e.scrollWidth > e.clientWidth + 1 && seen(e) && e.tabIndex < 0) say("a part that scrolls, and not by the keyboard", e);
	}
	for (const e of all("button, nav a, .pager a, input:not([type=hidden]), select"))
		if (seen(e) && e.getBoundingClientRect().height < 24) say("a target of less than 24 pixels", e);
	for (const e of all("table")) if (asked < 500 && e.scrollWidth > e.parentElement.clientWidth + 1 && seen(e)) say("a table that is cut off on a telephone", e.caption);
	// A telephone shows a page that is too wide as a whole, smaller: innerWidth grows with it.
	const root = document.documentElement, width = Math.min(innerWidth, asked);
	if (root.scrollWidth > width) {
		say("wider than the window, " + root.scrollWidth + " of " + width);
		for (const e of all("body *")) {
			const r = e.getBoundingClientRect();
			if (r.right > width + 1 && !e.closest(".scroll")) { say("it reaches to " + r.right, e); break; }
		}
	}
	if (window.hacked) say("a script of a text has run");
	return faults;
})`

// focusable is each element that the Tab key reaches, in the order of the page.
const focusable = `[...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]")]
	.filter(e => e.tabIndex >= 0 && !e.disabled && !e.closest("details:not([open]) > :not(summary)") && e.getClientRects().length && getComputedStyle(e).visibility !== "hidden")`

// looks are those in which each page is looked at.
var looks = []struct {
	width  int
	scheme string
}{{1280, "light"}, {1280, "dark"}, {360, "light"}, {360, "dark"}}

func (c *chromium) checkPage(where string) {
	c.t.Helper()
	var faults []string
	c.eval(fmt.Sprintf("%s(%d)", faultsOfPage, c.width), &faults)
	for _, f := range faults {
		c.t.Errorf("%s: %s", where, f)
	}
	c.quiet(where)
}

// checkKeyboard goes through a page with the Tab key: each element in its order, each one seen. The
// page itself notes the focus, so that each key is one message.
func (c *chromium) checkKeyboard(where string) {
	c.t.Helper()
	var want []string
	c.eval(`(document.activeElement && document.activeElement.blur(), window.getSelection().removeAllRanges(), window.focused = [],
		document.addEventListener("focusin", event => { const e = event.target, s = getComputedStyle(e), r = e.getBoundingClientRect();
			focused.push({Place: e.dataset.place || e.tagName, Outline: s.outlineStyle + " " + parseFloat(s.outlineWidth), Hidden: r.bottom < 0 || r.right < 0}); }),
		`+focusable+`.map((e, i) => { e.dataset.place = i; return i + " " + e.tagName + " " + (e.textContent.trim() || e.name || e.className).slice(0, 40); }))`, &want)
	for range want {
		c.call("Input.dispatchKeyEvent", map[string]any{"type": "rawKeyDown", "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9})
	}
	var got []struct {
		Place, Outline string
		Hidden         bool
	}
	c.eval("focused", &got)
	if len(got) != len(want) {
		c.t.Errorf("%s: %d keys reach %d elements", where, len(want), len(got))
		return
	}
	for i, g := range got {
		if g.Place != fmt.Sprint(i) {
			c.t.Errorf("%s: Tab number %d leads to %s, want %s", where, i+1, g.Place, want[i])
			return
		}
		if strings.HasPrefix(g.Outline, "none") || g.Hidden && i > 0 {
			c.t.Errorf("%s: the focus on %s is not seen: %s", where, want[i], g.Outline)
		}
	}
}

// TestTransactionsAreDenseOnATelephone: a page of 50 is at most 110 pixels for each high, all of its parts
// included.
func TestTransactionsAreDenseOnATelephone(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	for i := range pageRows {
		commit(t, s.storage, zodb.TxnMeta{User: []byte("anna.schmidt"), Description: []byte("/plone/news/2026/the-new-library Edited")}, zodb.OID(i), zodb.OID(i+1))
	}
	c := newChromium(t, s.address)
	c.look(360, "light")
	c.login("/web/transactions")
	var page struct{ Height, Rows int }
	c.eval(`({Height: document.documentElement.scrollHeight, Rows: document.querySelectorAll("tbody tr").length})`, &page)
	if page.Rows != pageRows || page.Height > 110*pageRows {
		t.Errorf("%+v", page)
	}
	t.Logf("%d rows, %d pixels", page.Rows, page.Height)
	c.checkPage("transactions on a telephone")
	c.screenshot("transactions-dense-360")
}

// TestPagesInChromium goes through all pages as a person does: by the mouse, by the keyboard, on a
// telephone, by day and by night, and without scripts.
func TestPagesInChromium(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	fill(t, s)
	c := newChromium(t, s.address)

	// The login form, by the keyboard.
	c.look(1280, "light")
	c.navigate("/web/transactions")
	c.until(`location.pathname === "/web/login" && document.activeElement.id === "token"`)
	c.checkPage("login")
	c.screenshot("login-light-1280")
	c.call("Input.insertText", map[string]any{"text": "wrong"})
	c.eval("window.before = true", nil)
	c.key("Enter", 13, "\r")
	c.until(`!window.before && document.querySelector("[role=alert]")`)
	c.checkPage("login that failed")
	c.call("Input.insertText", map[string]any{"text": theToken})
	c.eval("window.before = true", nil)
	c.key("Enter", 13, "\r")
	c.until(`!window.before && location.pathname === "/web/transactions" && document.readyState === "complete"`)

	// Each entry of the navigation by a click, and from there the first link of each kind.
	var nav []string
	c.eval(`[...document.querySelectorAll("header nav a")].map(e => e.getAttribute("href"))`, &nav)
	if len(nav) < 3 {
		t.Fatalf("the navigation has %v", nav)
	}
	paths := map[string]string{} // the page without its parameters: an address
	for _, href := range nav {
		page, _, _ := strings.Cut(href, "?")
		c.click(`header nav a[href="` + page + `"], header nav a[href^="` + page + `?"]`)
		var current string
		c.eval(`document.querySelector("header nav a[aria-current]").getAttribute("href").split("?")[0]`, &current)
		if current != page {
			t.Errorf("on %s the navigation shows %s", href, current)
		}
		paths[page] = href
	}
	for _, href := range nav {
		c.navigate(href)
		var links []string
		c.eval(`[...document.querySelectorAll("main a[href]")].map(e => e.getAttribute("href"))`, &links)
		for _, l := range links {
			page, _, _ := strings.Cut(l, "?")
			if paths[page] == "" && strings.HasPrefix(page, "/web/") {
				paths[page] = l
				c.navigate(href)
				c.click(`main a[href="` + l + `"]`)
				c.checkPage(l)
			}
		}
	}
	paths["/web/nothing"] = "/web/nothing"
	var pages []string
	for page := range paths {
		pages = append(pages, page)
	}
	slices.Sort(pages)
	for _, want := range []string{"/web/", "/web/live", "/web/transactions", "/web/transaction", "/web/clients"} {
		if paths[want] == "" {
			t.Errorf("no link leads to %s: %v", want, pages)
		}
	}

	// A page follows the window and the scheme without being loaded again.
	for _, page := range pages {
		c.look(1280, "light")
		c.navigate(paths[page])
		for _, look := range looks {
			c.look(look.width, look.scheme)
			where := fmt.Sprintf("%s, %s, %d pixels", page, look.scheme, look.width)
			if page == "/web/live" { // its charts are made for the window
				c.navigate(paths[page])
				c.until(`document.querySelectorAll(".chart canvas").length === 4 && document.querySelector("[data-state]").textContent === "Live"`)
				c.until(`/[0-9]/.test(document.querySelector("[data-figure=loads]").textContent)`)
			}
			c.checkPage(where)
			c.screenshot(fmt.Sprintf("%s-%s-%d", strings.Trim(strings.ReplaceAll(strings.TrimPrefix(page, "/web/"), "/", "-")+"", "-")+map[bool]string{true: "status"}[page == "/web/"], look.scheme, look.width))
		}
		c.look(1280, "light")
		c.checkKeyboard(page)
		c.quiet(page)
	}

	// Everything but the charts is there without scripts.
	c.call("Emulation.setScriptExecutionDisabled", map[string]any{"value": true})
	for _, href := range nav {
		c.call("Page.navigate", map[string]any{"url": s.address + href})
		c.until(`document.readyState === "complete" && document.querySelector("main h1") && location.pathname + location.search === "` + href + `"`)
		c.quiet(href + " without scripts")
	}
	c.call("Emulation.setScriptExecutionDisabled", map[string]any{"value": false})

	c.navigate("/web/")
	c.click("form.out button")
	c.until(`location.pathname === "/web/login"`)
	c.quiet("log out")
}

// TestLivePageInChromium: figures come, a hidden page asks for nothing, and a lost connection is
// taken up again.
func TestLivePageInChromium(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil)
	fill(t, s)
	c := newChromium(t, s.address)
	c.look(1280, "light")
	c.login("/web/live")
	streams := func() int {
		s.site.live.mu.Lock()
		defer s.site.live.mu.Unlock()
		return s.site.live.streams
	}
	c.until(`document.querySelector("[data-state]").textContent === "Live"`)
	for range 1000 {
		s.set.Loaded("main", 123_000)
	}
	c.until(`/^1\d\d µs$/.test(document.querySelector("[data-figure=load50]").textContent)`)
	hide := func(hidden bool) {
		c.eval(fmt.Sprintf(`(Object.defineProperty(document, "hidden", {value: %v, configurable: true}), document.dispatchEvent(new Event("visibilitychange")))`, hidden), nil)
	}
	hide(true)
	c.until(`document.querySelector("[data-state]").textContent === "Paused"`)
	hometest.Eventually(t, "a hidden page has no stream", func() bool { return streams() == 0 })
	hide(false)
	c.until(`document.querySelector("[data-state]").textContent === "Live"`)

	// The browser loses the connection, and comes again by itself.
	c.call("Network.emulateNetworkConditions", map[string]any{"offline": true, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1})
	s.ahead(2 * maxStream) // the server ends the stream
	hometest.Eventually(t, "the stream has ended", func() bool { return streams() == 0 })
	c.until(`/^The connection is lost/.test(document.querySelector("[data-state]").textContent)`)
	c.call("Network.emulateNetworkConditions", map[string]any{"offline": false, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1})
	c.until(`document.querySelector("[data-state]").textContent === "Live"`)
	c.b.mu.Lock()
	c.complaints = slices.DeleteFunc(c.complaints, func(text string) bool { return strings.Contains(text, "ERR_INTERNET_DISCONNECTED") })
	c.b.mu.Unlock()

	// A fault is told on the page, in a part that a screen reader reads.
	s.mu.Lock()
	s.problems = []Problem{{Storage: "main", Text: hostile()[1], Remedy: hostile()[0]}}
	s.mu.Unlock()
	c.until(`document.querySelector("[data-faults][aria-live=polite]").textContent.includes("1 fault")`)
	c.checkPage("a fault on the live page")
	c.screenshot("live-fault-light-1280")
	c.navigate("/web/")
	c.until(`document.querySelectorAll("[data-problems] .alarm").length === 1`)
	s.mu.Lock()
	s.problems = append(s.problems, Problem{Text: "little space", Warning: true})
	s.mu.Unlock()
	c.until(`document.querySelectorAll("[data-problems] .alarm").length === 2`)
	c.checkPage("faults on the first page")
	c.screenshot("status-faults-light-1280")
}

// fill makes transactions with all texts, and more than a page has.
func fill(t *testing.T, s *testSite) {
	t.Helper()
	for i, text := range hostile() {
		commit(t, s.storage, zodb.TxnMeta{User: []byte(text), Description: []byte(text), Extension: []byte("}q\x00U\x01kq\x01U\x01vq\x02s.")}, zodb.OID(i+1))
	}
	users := []string{"admin", "editor", "anna.schmidt", ""}
	texts := []string{"/plone/news/2026/the-new-library\n\nEdited", "/plone/portal_catalog", "/plone/about/team/@@edit", "/plone/events/concert/image_upload"}
	for i := range pageRows + 5 {
		var oids []zodb.OID
		for j := range 1 + i*7%90 {
			oids = append(oids, zodb.OID(j+i))
		}
		commit(t, s.storage, zodb.TxnMeta{User: []byte(users[i%len(users)]), Description: []byte(texts[i%len(texts)]), Extension: []byte("}q\x00U\x0crequest_typeq\x01U\x04POSTq\x02s.")}, oids...)
	}
}
