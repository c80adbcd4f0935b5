package web

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// browser is a headless browser that the tests share, each with a window and cookies of its own. It is
// driven by its protocol of development tools, over a pair of pipes: messages are JSON, with a zero
// byte after each.
type browser struct {
	in    io.WriteCloser
	end   func() // waits for the end of the process
	users int    // guarded by theBrowser.mu

	mu      sync.Mutex
	next    int                     // guarded by mu
	waiting map[int]chan cdpMessage // guarded by mu; nil: it has ended
	windows map[string]*chromium    // guarded by mu; by session
}

// theBrowser is the one that runs; nil: none does.
var theBrowser struct {
	mu sync.Mutex
	b  *browser // guarded by mu
}

// chromium is a window of the browser.
type chromium struct {
	t       testing.TB
	b       *browser
	session string

	// complaints are lines of the console, exceptions, and requests to elsewhere.
	complaints []string // guarded by b.mu
	own        string   // the address to which requests may go
	width      int      // of the window, as look has set it
}

type cdpMessage struct {
	ID      int             `json:"id"`
	Method  string          `json:"method"`
	Params  json.RawMessage `json:"params"`
	Result  json.RawMessage `json:"result"`
	Session string          `json:"sessionId"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// patience is how long a step of the browser may take on a machine that is busy.
const patience = 2 * time.Minute

// newChromium opens a window; the test skips where there is no browser. The last test that goes ends
// the browser.
func newChromium(t testing.TB, own string) *chromium {
	t.Helper()
	if testing.Short() {
		t.Skip("a browser takes seconds")
	}
	theBrowser.mu.Lock()
	if theBrowser.b == nil {
		var err error
		if theBrowser.b, err = startBrowser(t); err != nil {
			theBrowser.mu.Unlock()
			t.Fatal(err)
		}
	}
	b := theBrowser.b
	b.users++
	theBrowser.mu.Unlock()
	c := &chromium{t: t, b: b, own: own}
	t.Cleanup(func() {
		theBrowser.mu.Lock()
		defer theBrowser.mu.Unlock()
		if b.users--; b.users == 0 {
			theBrowser.b = nil
			c.call("Browser.close", nil)
			b.end()
		}
	})
	var target struct {
		Context string `json:"browserContextId"`
		ID      string `json:"targetId"`
		Session string `json:"sessionId"`
	}
	c.into(&target, "Target.createBrowserContext", nil)
	c.into(&target, "Target.createTarget", map[string]any{"url": "about:blank", "browserContextId": target.Context})
	c.into(&target, "Target.attachToTarget", map[string]any{"targetId": target.ID, "flatten": true})
	c.session = target.Session
	b.mu.Lock()
	b.windows[c.session] = c
	b.mu.Unlock()
	t.Cleanup(func() {
		b.mu.Lock()
		delete(b.windows, c.session)
		b.mu.Unlock()
		c.call("Target.disposeBrowserContext", map[string]any{"browserContextId": target.Context})
	})
	for _, domain := range []string{"Page", "Runtime", "Log", "Network", "DOM"} {
		c.call(domain+".enable", nil)
	}
	c.call("Emulation.setFocusEmulationEnabled", map[string]any{"enabled": true}) // each window has the focus
	return c
}

// startBrowser starts the process; the test skips where there is none.
func startBrowser(t testing.TB) (*browser, error) {
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			program = path
			break
		}
	}
	if program == "" {
		theBrowser.mu.Unlock()
		t.Skip("there is no chromium here")
	}
	profile, err := os.MkdirTemp("", "chromium") // it outlives the test that starts it
	if err != nil {
		return nil, err
	}
	theirs, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--disable-extensions", "--no-default-browser-check", "--hide-scrollbars",
		"--disable-renderer-backgrounding", "--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows",
		"--force-color-profile=srgb", "--remote-debugging-pipe", "--user-data-dir="+profile, "about:blank")
	cmd.ExtraFiles = []*os.File{theirs, theirOut}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	theirs.Close()
	theirOut.Close()
	b := &browser{in: in, waiting: make(map[int]chan cdpMessage), windows: make(map[string]*chromium)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.read(out)
	}()
	b.end = func() {
		in.Close()
		_ = cmd.Wait() // it was told to end
		<-ended
		out.Close()
		_ = os.RemoveAll(profile) // in a directory for temporary files
	}
	return b, nil
}

func (b *browser) read(out io.Reader) {
	r := bufio.NewReader(out)
	for {
		text, err := r.ReadBytes(0)
		if err != nil {
			b.mu.Lock()
			for id, ch := range b.waiting {
				close(ch)
				delete(b.waiting, id)
			}
			b.waiting = nil
			b.mu.Unlock()
			return
		}
		var m cdpMessage
		if json.Unmarshal(text[:len(text)-1], &m) != nil {
			continue
		}
		b.mu.Lock()
		if ch := b.waiting[m.ID]; m.ID != 0 && ch != nil {
			delete(b.waiting, m.ID)
			ch <- m
		}
		if c := b.windows[m.Session]; c != nil {
			if fault := c.complaint(m); fault != "" {
				c.complaints = append(c.complaints, fault)
			}
		}
		b.mu.Unlock()
	}
}

// complaint returns the fault that an event is about; empty if it is none.
func (c *chromium) complaint(m cdpMessage) string {
	var p struct {
		Type  string `json:"type"`
		Entry struct {
			Level, Text, URL string
		} `json:"entry"`
		Details json.RawMessage `json:"exceptionDetails"`
		Args    json.RawMessage `json:"args"`
		Request struct {
			URL string `json:"url"`
		} `json:"request"`
	}
	_ = json.Unmarshal(m.Params, &p) // an event of another form is about nothing here
	switch m.Method {
	case "Runtime.exceptionThrown":
		return "exception: " + string(p.Details)
	case "Runtime.consoleAPICalled":
		return "console." + p.Type + ": " + string(p.Args)
	case "Log.entryAdded":
		// The status of an error page that the test asks for is a line of its own.
		if strings.Contains(p.Entry.Text, "the server responded with a status of 4") {
			return ""
		}
		return "log, " + p.Entry.Level + ": " + p.Entry.Text + " " + p.Entry.URL
	case "Network.requestWillBeSent":
		if !strings.HasPrefix(p.Request.URL, c.own+"/") && p.Request.URL != "about:blank" {
			return "request to " + p.Request.URL
		}
	case "Page.javascriptDialogOpening":
		return "a dialog: " + string(m.Params)
	}
	return ""
}

// navigating reports whether a command met a page that was just being left.
func navigating(message string) bool {
	return strings.Contains(message, "navigated or closed") || strings.Contains(message, "context was destroyed") || strings.Contains(message, "Cannot find context")
}

// call returns the result of a command; nil if it met a page that was just being left.
func (c *chromium) call(method string, params any) json.RawMessage {
	c.t.Helper()
	c.b.mu.Lock()
	if c.b.waiting == nil {
		c.b.mu.Unlock()
		c.t.Fatalf("%s: the browser has ended", method)
	}
	c.b.next++
	id, ch := c.b.next, make(chan cdpMessage, 1)
	c.b.waiting[id] = ch
	message := map[string]any{"id": id, "method": method}
	if params != nil {
		message["params"] = params
	}
	if c.session != "" && !strings.HasPrefix(method, "Target.") && !strings.HasPrefix(method, "Browser.") {
		message["sessionId"] = c.session
	}
	b, err := json.Marshal(message)
	if err == nil {
		_, err = c.b.in.Write(append(b, 0))
	}
	c.b.mu.Unlock()
	if err != nil {
		c.t.Fatalf("%s: %v", method, err)
	}
	select {
	case m, ok := <-ch:
		if !ok && method == "Browser.close" {
			return nil
		}
		if ok && m.Error != nil && navigating(m.Error.Message) {
			return nil
		}
		if !ok || m.Error != nil {
			c.t.Fatalf("%s %v: %v", method, params, m.Error)
		}
		return m.Result
	case <-time.After(patience):
		c.t.Fatalf("%s: no answer", method)
	}
	return nil
}

func (c *chromium) into(v any, method string, params any) {
	c.t.Helper()
	if err := json.Unmarshal(c.call(method, params), v); err != nil {
		c.t.Fatalf("%s: %v", method, err)
	}
}

// eval returns the value of an expression in the page, as JSON made of it.
func (c *chromium) eval(expression string, v any) {
	c.t.Helper()
	var got struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Details json.RawMessage `json:"exceptionDetails"`
	}
	answer := c.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true})
	if answer == nil {
		return // v stays false, and until asks again
	}
	if err := json.Unmarshal(answer, &got); err != nil {
		c.t.Fatal(err)
	}
	if got.Details != nil {
		c.t.Fatalf("%s: %s", expression, got.Details)
	}
	if v != nil && got.Result.Value != nil {
		if err := json.Unmarshal(got.Result.Value, v); err != nil {
			c.t.Fatalf("%s: %v", expression, err)
		}
	}
}

// until waits for a condition in the page.
func (c *chromium) until(condition string) {
	c.t.Helper()
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		ok := false
		c.eval("!!("+condition+")", &ok)
		if ok {
			return
		}
		if time.Since(began) > patience {
			var page string
			c.eval("location.href + '\\n' + document.documentElement.outerHTML", &page)
			c.t.Fatalf("never: %s\nin %s", condition, page)
		}
	}
}

// navigate goes to a page and waits for it.
func (c *chromium) navigate(path string) {
	c.t.Helper()
	c.eval("window.before = true", nil)
	c.call("Page.navigate", map[string]any{"url": c.own + path})
	c.until("!window.before && document.readyState === 'complete' && document.body")
}

// click moves the mouse to the middle of an element, and presses it. The click has to lead to
// another page.
func (c *chromium) click(selector string) {
	c.t.Helper()
	var at struct{ X, Y float64 }
	c.eval("window.before = true", nil)
	c.eval(fmt.Sprintf(`(() => { const e = document.querySelector(%q); if (!e) throw new Error("no " + %q);
		e.scrollIntoView({block: "center"}); const r = e.getClientRects()[0]; return {X: r.x + r.width / 2, Y: r.y + r.height / 2}; })()`, selector, selector), &at)
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		c.call("Input.dispatchMouseEvent", map[string]any{"type": kind, "x": at.X, "y": at.Y, "button": "left", "clickCount": 1})
	}
	c.until("!window.before && document.readyState === 'complete' && document.body")
}

// key presses a key.
func (c *chromium) key(name string, code int, text string) {
	c.t.Helper()
	for _, kind := range []string{"keyDown", "keyUp"} {
		p := map[string]any{"type": kind, "key": name, "code": name, "windowsVirtualKeyCode": code}
		if kind == "keyDown" && text != "" {
			p["text"] = text
		}
		c.call("Input.dispatchKeyEvent", p)
	}
}

// login goes through the login form by the keyboard to a page.
func (c *chromium) login(page string) {
	c.t.Helper()
	c.navigate("/web/login?next=" + page)
	c.until(`document.activeElement.id === "token"`)
	c.call("Input.insertText", map[string]any{"text": theToken})
	c.eval("window.before = true", nil)
	c.key("Enter", 13, "\r")
	c.until(`!window.before && location.pathname === "` + page + `" && document.readyState === "complete"`)
}

// look sets the width of the window and the scheme of colours.
func (c *chromium) look(width int, scheme string) {
	c.t.Helper()
	c.width = width
	c.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500})
	c.call("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}})
}

// screenshot writes a picture of the whole page into the directory of DIRSTORAGE_SCREENSHOTS, if it
// is set.
func (c *chromium) screenshot(name string) {
	c.t.Helper()
	dir := os.Getenv("DIRSTORAGE_SCREENSHOTS")
	if dir == "" {
		return
	}
	var shot struct {
		Data string `json:"data"`
	}
	c.into(&shot, "Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true})
	b, err := base64.StdEncoding.DecodeString(shot.Data)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), b, 0o644)
	}
	if err != nil {
		c.t.Error(err)
	}
}

// quiet fails the test if the browser complained since the last call.
func (c *chromium) quiet(where string) {
	c.t.Helper()
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	for _, what := range c.complaints {
		c.t.Errorf("%s: %s", where, what)
	}
	c.complaints = nil
}
