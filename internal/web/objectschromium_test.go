package web

import (
	"fmt"
	"strings"
	"testing"
)

// TestContentsInChromium goes from an object to a reference, its history, a difference, and back; then
// through classes and backups; on a telephone, too, by day and by night.
func TestContentsInChromium(t *testing.T) {
	t.Parallel()
	s, repo := contentSite(t)
	fillRepository(t, s.storage, repo)
	addGarbage(t, s.storage)
	c := newChromium(t, s.address)
	c.look(1280, "light")
	c.login("/web/object")
	title := func(want string) {
		t.Helper()
		var got string
		c.eval(`document.querySelector("h1").textContent`, &got)
		if got != want {
			t.Errorf("the page is %q, want %q", got, want)
		}
		c.checkPage(want)
	}
	title("Root object")
	c.click(`pre.state a`)
	title("Object " + theApp.String())

	// By a path, with the keyboard.
	c.eval(`document.querySelector("#find").focus()`, nil)
	c.call("Input.insertText", map[string]any{"text": "/Application/Plone/news"})
	c.eval("window.before = true", nil)
	c.key("Enter", 13, "\r")
	c.until(`!window.before && document.readyState === "complete" && document.querySelectorAll(".path li").length === 4`)
	title("Object " + theNews.String())
	c.click(`a[href^="/web/history?"]`)
	title("History of object " + theNews.String())
	c.click(`tbody tr:nth-child(2) a[href^="/web/compare?"]`)
	title("Changes of object " + theNews.String())
	var lines []string
	c.eval(`[...document.querySelectorAll(".diff ins, .diff del")].map(e => e.textContent)`, &lines)
	if len(lines) != 2 || !strings.HasPrefix(lines[0], "removed: ") || !strings.Contains(lines[1], "with 60 seats") {
		t.Errorf("the difference is %q", lines)
	}
	for _, want := range []string{"History of object ", "Object "} {
		c.eval("history.back()", nil)
		c.until(`document.readyState === "complete" && document.querySelector("h1").textContent === "` + want + theNews.String() + `"`)
	}
	c.quiet("back to the object")

	c.navigate("/web/classes")
	c.click(`main form button`)
	s.waitForCount(t)
	c.navigate("/web/classes")
	c.until(`document.querySelectorAll("table").length === 2`)
	c.checkPage("classes")
	c.click(`tbody td a[href^="/web/object?"]`)
	c.checkPage("the largest object of a class")
	c.navigate("/web/backups")
	c.eval(`document.querySelectorAll(".timeline summary, #table").forEach(e => e.click())`, nil)
	c.until(`document.querySelectorAll("details[open]").length === 6`)
	c.checkPage("backups")

	pages := map[string]string{
		"object": "/web/object?find=/Application/Plone/news", "object-hostile": "/web/object?oid=" + theHostile.String(), "object-garbage": "/web/object?oid=108",
		"object-missing": "/web/object?find=/Application/Plone/nothing", "object-search": "/web/object?oid=" + theNews.String() + "&search=1",
		"history": "/web/history?oid=" + theNews.String(), "compare": "/web/compare?oid=" + theNews.String(), "classes": "/web/classes", "backups": "/web/backups",
	}
	for name, path := range pages {
		c.look(1280, "light")
		c.navigate(path)
		c.checkKeyboard(path)
		c.quiet(path)
		if name == "backups" {
			c.eval(`document.querySelectorAll("details").forEach(e => e.open = true)`, nil)
		}
		for _, look := range looks {
			c.look(look.width, look.scheme)
			c.checkPage(fmt.Sprintf("%s, %s, %d pixels", path, look.scheme, look.width))
			c.screenshot(fmt.Sprintf("%s-%s-%d", name, look.scheme, look.width))
		}
	}
}
