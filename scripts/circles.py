#!/usr/bin/env python3
"""Finds circles between the modules of a crate, and children that take from their parent.

A module is a file. It uses another where a path names it: `crate::a::b`, `super::b`, `self::b`, or
`b::…` where `b` is a child; in `use`, also grouped and over several lines, and anywhere else. A path
through a re-export is followed to the file that has the item. What a file declares with `mod` it
uses, so whatever a child takes from a `mod.rs` or `lib.rs` above it makes a circle. Tests may look
into anything: what stands in `#[cfg(test)]` does not count.

Standard library only; `scripts/check-structure` uses it.
"""

import os
import re
from typing import NamedTuple

TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|::|[{}();,*=#\[\]!<>&]|\S")
IDENT = re.compile(r"[A-Za-z_]\w*$")
LITERAL = re.compile(
    r'//[^\n]*|/\*.*?\*/|b?r(#*)".*?"\1|b?"(?:\\.|[^"\\])*"|b?\'(?:\\[^\n]{1,8}?|[^\\\'\n])\'', re.DOTALL
)


class Use(NamedTuple):
    """A path as it stands in a file, its position taken back to the crate's root."""

    line: int
    path: tuple[str, ...]
    name: str | None  # what it is called here; None where it brings no name in
    public: bool


class File:
    """What one file declares, uses and re-exports."""

    def __init__(self, path, module):
        self.path = path
        self.module = module
        self.uses = []
        self.children = {}
        # Paths that begin with a name of the file's own: (line, path).
        self.bare = []


def blank(text):
    """The text with comments and literals as blanks, its lines as they were."""
    return LITERAL.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)


def tokens(text):
    """(line, token) of Rust source."""
    line, at = 1, 0
    for found in TOKEN.finditer(blank(text)):
        line += text.count("\n", at, found.start())
        at = found.start()
        yield line, found[0]


class Reader:
    """Reads the paths of one file."""

    def __init__(self, file, text, known):
        self.file = file
        self.known = known
        self.tokens = [*tokens(text), (0, ""), (0, "")]
        self.at = 0
        # The inline modules around the place that is read, each with its depth in braces.
        self.inline = []
        self.depth = 0

    def word(self, ahead=0):
        return self.tokens[min(self.at + ahead, len(self.tokens) - 1)][1]

    def module(self):
        return self.file.module + tuple(name for name, _ in self.inline)

    def read(self):
        public = False
        while self.word():
            word = self.word()
            if word == "#" and self.word(1) in "[!":
                if self.attribute_is_test():
                    self.skip_item()
            elif word == "pub":
                public = True
                self.at += 1
                if self.word() == "(":
                    self.skip_group("(", ")")
                continue
            elif word == "use":
                self.at += 1
                self.tree((), public)
            elif word == "mod" and IDENT.match(self.word(1)):
                self.declaration()
            elif word == "{":
                self.depth += 1
                self.at += 1
            elif word == "}":
                self.depth -= 1
                if self.inline and self.inline[-1][1] > self.depth:
                    self.inline.pop()
                self.at += 1
            elif IDENT.match(word) and self.word(1) == "::" and self.before() != "::":
                self.path()
            else:
                self.at += 1
            public = False

    def before(self):
        return self.tokens[self.at - 1][1] if self.at else ""

    def attribute_is_test(self):
        """Steps over an attribute; whether what follows it is for tests only."""
        self.at += 1 + (self.word(1) == "!")
        first = self.at
        self.skip_group("[", "]")
        words = [word for _, word in self.tokens[first : self.at]]
        return words == ["[", "test", "]"] or (words[1] == "cfg" and "test" in words and "not" not in words)

    def skip_group(self, opening, closing):
        depth = 0
        while self.word():
            depth += (self.word() == opening) - (self.word() == closing)
            self.at += 1
            if depth == 0:
                return

    def skip_item(self):
        """Steps over an item, with further attributes before it."""
        while self.word() == "#":
            self.at += 1
            self.skip_group("[", "]")
        round_ = 0
        while self.word():
            round_ += (self.word() in ("(", "[")) - (self.word() in (")", "]"))
            if self.word() == "{":
                self.skip_group("{", "}")
                if self.word() != ";":
                    return
            elif self.word() in (";", ",") and round_ == 0:
                self.at += 1
                return
            elif self.word() == "}":
                return
            else:
                self.at += 1

    def declaration(self):
        line, name = self.tokens[self.at + 1]
        after = self.word(2)
        self.at += 2
        if after == ";" and not self.inline:
            self.file.children[name] = line
        elif after == "{":
            self.inline.append((name, self.depth + 1))

    def tree(self, before, public):
        """A `use` tree: a path that may end in a group, in `*` or in `as name`."""
        path = list(before)
        line = self.tokens[self.at][0]
        if self.word() == "::":
            path.append("::")
            self.at += 1
        while self.word():
            if self.word() == "{":
                self.at += 1
                while self.word() not in ("}", ""):
                    self.tree(tuple(path), public)
                    if self.word() == ",":
                        self.at += 1
                self.at += 1
                return
            if self.word() == "*":
                self.at += 1
                self.add(line, path, "*", public)
                return
            path.append(self.word())
            line = self.tokens[self.at][0]
            self.at += 1
            if self.word() != "::":
                break
            self.at += 1
        name = path[-1]
        if name == "self":
            path.pop()
            name = path[-1] if path else "self"
        if self.word() == "as":
            name = self.word(1)
            self.at += 2
        self.add(line, path, name, public)

    def path(self):
        """A path in an expression, a type or an attribute."""
        line = self.tokens[self.at][0]
        path = [self.word()]
        self.at += 1
        while self.word() == "::" and IDENT.match(self.word(1)):
            path.append(self.word(1))
            self.at += 2
        if path[0] in ("crate", "super", "self"):
            self.add(line, path, None, public=False)
        else:
            self.file.bare.append((line, tuple(path)))

    def add(self, line, path, name, public):
        base = list(self.module())
        path = list(path)
        if path and path[0] == "crate":
            base = []
            path.pop(0)
        elif path and path[0] in ("super", "self"):
            while path and path[0] in ("super", "self"):
                if path.pop(0) == "super":
                    base = base[:-1]
        elif not path or (*base, path[0]) not in self.known:
            return  # another crate's, or a name that this file brought in
        self.file.uses.append(Use(line, (*base, *path), name, public))


class Crate:
    """The files of one crate, by module."""

    def __init__(self, root, folder, main):
        self.files = {}
        for path in sorted(under(root, folder)):
            module = module_of(path, folder, main)
            if module is not None:
                self.files[module] = File(path, module)
        for module, file in self.files.items():
            with open(os.path.join(root, file.path), encoding="utf-8") as opened:
                reader = Reader(file, opened.read(), self.files)
            reader.read()
        for file in self.files.values():
            self.follow_names(file)

    def follow_names(self, file):
        """A module that is brought in by `use`, or declared here, is used where a path begins with it."""
        names = {name: (*file.module, name) for name in file.children}
        modules = [use for use in file.uses if use.name not in (None, "*") and use.path in self.files]
        names |= {use.name: use.path for use in modules}
        file.uses = [use for use in file.uses if use not in modules or use.public]
        for line, path in file.bare:
            if path[0] in names:
                file.uses.append(Use(line, names[path[0]] + path[1:], None, public=False))

    def owner(self, path, *, seen=()):
        """The module of the file that has what `path` names, through re-exports."""
        module = ()
        for count in range(len(path), -1, -1):
            if path[:count] in self.files:
                module = path[:count]
                break
        rest = path[len(module) :]
        file = self.files.get(module)
        if file is None or not rest or (module, rest[0]) in seen:
            return module
        for use in file.uses:
            if use.public and use.name == rest[0]:
                return self.owner((*use.path, *rest[1:]), seen=(*seen, (module, rest[0])))
        return module

    def edges(self):
        """Module -> {module that it uses: line}."""
        edges = {}
        for module, file in self.files.items():
            used = edges.setdefault(module, {})
            for name, line in file.children.items():
                if (*module, name) in self.files:
                    used.setdefault((*module, name), line)
            for use in file.uses:
                owner = self.owner(use.path)
                if owner != module and owner in self.files:
                    used.setdefault(owner, use.line)
        return edges


def under(root, folder):
    for place, _, names in os.walk(os.path.join(root, folder)):
        for name in names:
            if name.endswith(".rs"):
                yield os.path.relpath(os.path.join(place, name), root)


def module_of(path, folder, main):
    parts = os.path.relpath(path, folder).removesuffix(".rs").split("/")
    if parts == [main]:
        return ()
    if parts[-1] == "mod":
        parts.pop()
    return tuple(parts) or None


def is_child(module, parent):
    return module[:-1] == parent and module != parent


def circles(edges):
    """The strongly connected parts with more than one module: Tarjan's way, without recursion."""
    index, low, stack, on_stack, found = {}, {}, [], set(), []
    for start in edges:
        if start in index:
            continue
        work = [(start, iter(edges[start]))]
        index[start] = low[start] = len(index)
        stack.append(start)
        on_stack.add(start)
        while work:
            node, rest = work[-1]
            for used in rest:
                if used not in index:
                    index[used] = low[used] = len(index)
                    stack.append(used)
                    on_stack.add(used)
                    work.append((used, iter(edges.get(used, ()))))
                    break
                if used in on_stack:
                    low[node] = min(low[node], index[used])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    part = []
                    while True:
                        member = stack.pop()
                        on_stack.discard(member)
                        part.append(member)
                        if member == node:
                            break
                    if len(part) > 1:
                        found.append(sorted(part))
    return found
