#!/usr/bin/env python3
"""Writes configparser.json beside it: what Python's ConfigParser, with
case-sensitive option names, makes of some files. The tests compare our reader
with it and do not need Python."""

import configparser
import io
import json
import os

CASES = {
    "both signs": "[a]\nx: 1\ny = 2\n",
    "no space": "[a]\nx:1\ny=2\n",
    "much space": "[a]\nx  \t :   1  \t\n",
    "sign in the value": "[a]\nx: 1=2:3\ny=a:b\n",
    "case counts": "[a]\nX: 1\nx: 2\n[A]\nx: 3\n",
    "space in the name": "[a]\npkg.module Class : forever\n",
    "empty value": "[a]\nx:\ny =\nz: 1\n",
    "comments": "# c\n; c\n[a]\n# c\nx: 1\n  # c\n; c\ny: 2\n",
    "no comment after a value": "[a]\nx: 1 # not\ny: 2 ; not\n",
    "comment sign as value": "[a]\nx: # not\n",
    "continued": "[a]\nx: 1\n  2\n\t3\ny: 4\n",
    "continued after nothing": "[a]\nx:\n  1\n",
    "continued by what looks like an option": "[a]\nx: 1\n  y: 2\n",
    "continued by what looks like a section": "[a]\nx: 1\n  [b]\ny: 2\n",
    "continued over empty lines": "[a]\nx: 1\n\n\n  2\n\ny: 3\n",
    "continued over a comment": "[a]\nx: 1\n# c\n  2\n  # c\n\n  3\n",
    "empty lines at the end": "[a]\nx: 1\n\n\n",
    "indented": "  [a]\n  x: 1\n  y: 2\n   3\n z: 4\n",
    "indented deeper in a section without options": "[a]\n   x: 1\n  y: 2\n",
    "deeper section after an option": "[a]\nx: 1\n [b]\n",
    "section with text behind": "[a] text\nx: 1\n",
    "section with brackets": "[a[1]]\nx: 1\n[b] ]\ny: 2\n",
    "section with space": "[ a ]\nx: 1\n",
    "empty section name": "[]\nx: 1\n",
    "empty section name as an option": "[a]\n[]: 1\n",
    "unclosed section as an option": "[a]\n[b: 1\n",
    "empty section": "[a]\n[b]\nx: 1\n",
    "empty file": "",
    "comments only": "# c\n\n",
    "windows": "[a]\r\nx: 1\r\n  2\r\ny: 3\r\n",
    "old mac": "[a]\rx: 1\r  2\ry: 3\r",
    "no line end": "[a]\nx: 1",
    "form feed": "[a]\n\x0cx: 1\n",
    "strange space": "[a]\nx\u00a0: \u20031\u00a0\n\x1cy: 2\n",
    "umlauts": "[ä]\nö: ü\n",
    "byte order mark": "\ufeff[a]\nx: 1\n",
    "default": "[DEFAULT]\nx: 1\ny: 2\n[a]\ny: 3\n[b]\n",
    "default at the end": "[a]\n[DEFAULT]\nx: 1\n",
    "default twice": "[DEFAULT]\nx: 1\n[a]\n[DEFAULT]\ny: 2\n",
    "default option twice": "[DEFAULT]\nx: 1\n[DEFAULT]\nx: 2\n[a]\n",
    "default in lower case": "[default]\nx: 1\n[a]\n",
    "percent": "[a]\nx: 100%%\ny: %%%%\nz: %%(x)s\n",
    "reference": "[a]\nx: 1\ny: <%(x)s>\n",
    "reference to default": "[DEFAULT]\nx: 1\n[a]\ny: %(x)s\n",
    "reference from default": "[DEFAULT]\ny: %(x)s\n[a]\nx: 1\n[b]\nx: 2\n",
    "reference to another section": "[a]\nx: 1\n[b]\ny: %(x)s\n",
    "reference to a reference": "[a]\nx: 1%%\ny: %(x)s\nz: %(y)s%(y)s\n",
    "reference in another case": "[a]\nx: 1\ny: %(X)s\n",
    "reference to itself": "[a]\nx: %(x)s\n",
    "reference in a circle": "[a]\nx: %(y)s\ny: %(x)s\n",
    "ten references": "[a]\n" + "".join("x%d: %%(x%d)s\n" % (i, i + 1) for i in range(9)) + "x9: %%\n",
    "eleven references": "[a]\n" + "".join("x%d: %%(x%d)s\n" % (i, i + 1) for i in range(10)) + "x10: %%\n",
    "a plain value behind ten references": "[a]\n" + "".join("x%d: %%(x%d)s\n" % (i, i + 1) for i in range(10)) + "x10: 1\n",
    "percent alone": "[a]\nx: 1%\ny: 2\n",
    "percent and text": "[a]\nx: %d\n",
    "reference without end": "[a]\nx: %(y\ny: 1\n",
    "reference without s": "[a]\nx: %(y)d\ny: 1\n",
    "empty reference": "[a]\nx: %()s\n",
    "reference over brackets": "[a]\nx: %(y)z)s\ny: 1\n",
    "option before a section": "x: 1\n[a]\n",
    "text without sign": "[a]\nx\n",
    "option without name": "[a]\n: 1\n",
    "section twice": "[a]\nx: 1\n[a]\ny: 2\n",
    "option twice": "[a]\nx: 1\nx: 2\n",
    "option twice with other space": "[a]\nx: 1\nx =  2\n",
}


def read(text):
    parser = configparser.ConfigParser()
    parser.optionxform = str
    try:
        # As from a file that is opened in text mode: every line end is \n.
        parser.read_file(io.TextIOWrapper(io.BytesIO(text.encode()), encoding="utf-8"))
    except configparser.Error as e:
        return {"error": type(e).__name__}
    sections = {}
    for section in parser.sections():
        sections[section] = {}
        for option in parser.options(section):
            try:
                value = {"value": parser.get(section, option)}
            except configparser.Error as e:
                value = {"error": type(e).__name__}
            sections[section][option] = value
    return {"sections": sections}


if __name__ == "__main__":
    out = [dict(name=name, text=text, **read(text)) for name, text in CASES.items()]
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "configparser.json"), "w") as f:
        json.dump(out, f, indent=1)
        f.write("\n")
