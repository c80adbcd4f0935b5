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

// chromium drives a headless browser by its protocol of development tools, over a pair of pipes:
// messages are JSON, with a zero byte after each.
type chromium struct {
	t       testing.TB
	in      io.Writer
	mu      sync.Mutex
	next    int                     // guarded by mu
	waiting map[int]chan cdpMessage // guarded by mu
	session string

	// complaints are lines of the console, exceptions, and requests to elsewhere.
	complaints []string // guarded by mu
	own        string   // the address to which requests may go
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

// newChromium starts a browser; the test skips where there is none.
func newChromium(t testing.TB, own string) *chromium {
	t.Helper()
	if testing.Short() {
		t.Skip("a browser takes seconds")
	}
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			program = path
			break
		}
	}
	if program == "" {
		t.Skip("there is no chromium here")
	}
	theirs, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--disable-extensions", "--no-default-browser-check", "--hide-scrollbars",
		"--force-color-profile=srgb", "--remote-debugging-pipe", "--user-data-dir="+t.TempDir(), "about:blank")
	cmd.ExtraFiles = []*os.File{theirs, theirOut}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close()
	theirOut.Close()
	c := &chromium{t: t, in: in, waiting: make(map[int]chan cdpMessage), own: own}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.read(out)
	}()
	t.Cleanup(func() {
		c.call("Browser.close", nil)
		in.Close()
		_ = cmd.Wait() // it was told to end
		<-ended
		out.Close()
	})
	var target struct {
		ID      string `json:"targetId"`
		Session string `json:"sessionId"`
	}
	c.into(&target, "Target.createTarget", map[string]any{"url": "about:blank"})
	c.into(&target, "Target.attachToTarget", map[string]any{"targetId": target.ID, "flatten": true})
	c.session = target.Session
	for _, domain := range []string{"Page", "Runtime", "Log", "Network", "DOM"} {
		c.call(domain+".enable", nil)
	}
	return c
}

func (c *chromium) read(out io.Reader) {
	r := bufio.NewReader(out)
	for {
		b, err := r.ReadBytes(0)
		if err != nil {
			c.mu.Lock()
			for id, ch := range c.waiting {
				close(ch)
				delete(c.waiting, id)
			}
			c.waiting = nil
			c.mu.Unlock()
			return
		}
		var m cdpMessage
		if json.Unmarshal(b[:len(b)-1], &m) != nil {
			continue
		}
		c.mu.Lock()
		if ch := c.waiting[m.ID]; m.ID != 0 && ch != nil {
			delete(c.waiting, m.ID)
			ch <- m
		}
		if what := c.complaint(m); what != "" {
			c.complaints = append(c.complaints, what)
		}
		c.mu.Unlock()
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
	c.mu.Lock()
	if c.waiting == nil {
		c.mu.Unlock()
		c.t.Fatalf("%s: the browser has ended", method)
	}
	c.next++
	id, ch := c.next, make(chan cdpMessage, 1)
	c.waiting[id] = ch
	message := map[string]any{"id": id, "method": method}
	if params != nil {
		message["params"] = params
	}
	if c.session != "" && !strings.HasPrefix(method, "Target.") && !strings.HasPrefix(method, "Browser.") {
		message["sessionId"] = c.session
	}
	b, err := json.Marshal(message)
	if err == nil {
		_, err = c.in.Write(append(b, 0))
	}
	c.mu.Unlock()
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

// look sets the width of the window and the scheme of colours.
func (c *chromium) look(width int, scheme string) {
	c.t.Helper()
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
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, what := range c.complaints {
		c.t.Errorf("%s: %s", where, what)
	}
	c.complaints = nil
}
