"""Nasty files of events: what other programs, people and broken connections make of CSV and JSONL.

A file's number decides its bytes, so that a file which a test fails on can be made again.
"""

import gzip
import json
import random
from collections.abc import Callable
from typing import NamedTuple

COLUMNS = ["event_id", "occurred_at", "user_id", "event_type"]
BYTE_ORDER_MARK = b"\xef\xbb\xbf"

_IDS = [
    *("1", "2", "a", "B", " ", " e", "e ", "=1+1", "-1", "'=a", "@x", "e,e", 'e"e', "e\ne", "e\r\ne", "e\re"),
    *("e\te", "\u00e9", "e\u0301", "\u212b", "ﬁ", "\u200b", "e\u00ad", "\u202eabc", "e\ufeff", "\u2028"),
    *("\x00", "\x7f", "\x85", "👩\u200d👩\u200d👧", "я", "\U000e0041", "\ufdd0", "\U0010ffff", "\ud800", "\udc80"),
    *("x" * 128, "x" * 129, "é" * 128, "7B5ED1EB-83DF-4255-A283-87FD4140B95E"),
    *("7b5ed1eb83df4255a28387fd4140b95e", "true", "null", "0", "{}", "a" * 3_000),
    *("{7b5ed1eb-83df-4255-a283-87fd4140b95e}", "urn:uuid:7b5ed1eb-83df-4255-a283-87fd4140b95e", "\x1f"),
    *("\u3000", "\\"),
]
_TIMES = [
    *("2024-05-01T00:00:00Z", "2024-05-01T23:59:59Z", "2024-05-01T23:30:00-01:00", "2024-05-01t10:00:00z"),
    *("2024-05-01 10:00:00+03:00", "2024-05-01T10:00:00.5Z", "2024-05-01T10:00:00.000000Z"),
    *("2024-05-01T10:00:00.1234567Z", "2016-12-31T23:59:60Z", "2024-05-01T12:34:60Z", "2024-02-30T00:00:00Z"),
    *("2024-05-01T24:00:00Z", "2024-05-01", "2024-05-01T10:00:00", "1714521600", "yesterday"),
    *("9999-12-31T23:59:59Z", "2999-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "0000-00-00T00:00:00Z"),
    *("1969-12-31T23:59:59Z", "1970-01-01T00:00:00+14:00", "2024-05-01T10:00:00+24:00", " ", "٢\u0660٢٤"),
    *("2024-05-01T10:00:00Z\n", " 2024-05-01T10:00:00Z", "2024-05-01T10:00:00\u221203:00"),
    *("2011-12-30T12:00:00Z", "2024-05-01T10:00:0\u0660Z"),
]
_USERS = [
    *("42", "u", "NULL", "undefined", "[object Object]", " ", "\t", "u" * 256, "u" * 257, "é" * 128, "é" * 129),
    *("\udcff", "=cmd", "u\u0000", "e\u0301", "\u00e9", "u\nu", '"', "\u2029", "0", "-7", "None "),
    *("\U0001f600" * 64, "\U0001f600" * 65),
]
_TYPES = [
    *("login", "$other", " ", "a" * 128, "a" * 129, "é", "e\u0301", "=a", "a\nb", "a\x0bb", "dau", "\ud83d"),
    "login,",
]
_PROPERTIES = [
    *("{}", "", " ", "null", "[]", "1", '"a"', "{", "}", '{"a":1', '{"a":1}}', "{'a':1}", '{"a":01}'),
    *('{"a":1,}', "nan", '{"a":1}', '{"a": 1.0}', '{"a":1e0}', '{"a":-0.0}', '{"a":1e400}', '{"a":NaN}'),
    *('{"a":-Infinity}', '{"a":1E21}', '{"a":1,"a":1}', '{"a":{"b":1,"b":2}}', '{"a":[{"b":1,"b":2}]}'),
    *('{"a":1,"\\u0061":2}', '{"b":1,"a":2}', '{"a":"\\u000b"}', '{"a":"\x0b"}', '{"a":"\\ud800"}'),
    *('{"a":"\\ud83d\\ude00"}', '{"a":"😀"}', '{"a":"\\/"}', '{"a":"/"}', '{"a":"\\udc80"}', '{"":0}'),
    *('{"a":null}', '{"a":true}', '{"é":1}', '{"e\u0301":1}', '{"a":"\udcff"}', "\ufeff{}"),
    *('{"a":1000000000000000000000}', '{"a":9007199254740993}', '{"a":0.1}', '{"a":"a,b"}', '{"a":"x\ny"}'),
    *('{"a":"\\n"}', '{ "a" : [ 1 , 2 ] }', '{"a":[[],{}]}', '{"a":"\\"}', '{"a":"\\\\"}', '{"a":"//"}'),
    *('{"events":[]}', '{"a":1}\n', '{"a":' + "9" * 999 + "}", '{"a":' + "9" * 1_001 + "}"),
    '{"a":"' + "x" * 1_500 + '"}',
]
_DEPTHS = [
    *(1, 2, 30, 126, 127, 128, 129, 130, 250, 498, 499, 500, 501, 502, 800, 900, 950, 970, 990, 1_010, 1_500),
    5_000,
]
_TOKENS = [
    *(b'"', b'""', b'","', b",", b"\n", b"\r", b"\r\n", b"\n\n", b"\0", b"\xff", b"\xc3", b"\xe9"),
    *(BYTE_ORDER_MARK, b"{", b"}", b"[", b"]", b":", b"\\", b"\\u", b" ", b"\t", b";", b"\xed\xa0\x80"),
    *(b"\xc0\x80", b"\x1a", b"\xe2\x80\xa8", b"e1,", b"null"),
]
_NAMES = ["events.csv", "events", "events.csv.gz", "a b.CSV", "é.csv", "x.txt"]
_JSON_NAMES = [
    *("events.jsonl", "events.ndjson", "EVENTS.JSONL.GZ", "events", "events.json", "é.jsonl", ".jsonl"),
    "_.ndjson",
]


class NastyFile(NamedTuple):
    """A file, under the name that a person gave it."""

    name: str
    content: bytes


def nasty_file(number: int, *, large: bool = False) -> NastyFile:
    """The nasty file of a number. Only a `large` one has rows that are too large by the limits of the package."""
    made = _Maker(random.Random(f"nasty file {number}"), large=large)
    return made.file()


class _Maker:
    def __init__(self, rng: random.Random, *, large: bool) -> None:
        self._rng = rng
        self._large = large
        # Of a file in which few rows are good, the others tell little.
        self._badness = rng.choice([0.0, 0.02, 0.1, 0.1, 0.3])
        self._ids = rng.choice([3, 50, 50, 1_000])

    def file(self) -> NastyFile:
        rng = self._rng
        kind = rng.choices([self._csv, self._jsonl, self._neither], [55, 40, 5])[0]
        is_json = kind == self._jsonl
        name = rng.choice(_JSON_NAMES if is_json == (rng.random() < 0.98) else _NAMES)
        content = self._encoded(kind())
        if rng.random() < 0.4:
            content = self._damaged(content)
        if rng.random() < 0.2:
            content = self._compressed(content)
        return NastyFile(name, content)

    def _bad(self) -> bool:
        return self._rng.random() < self._badness

    def _number_of_rows(self) -> int:
        return self._rng.choice([0, 1, 2, 3, 5, 8, 12, 20])

    def _days(self) -> int:
        """How many days a file's rows are of; more than a request may have in few files."""
        return 450 if self._rng.random() < 0.005 else 3

    # Values

    def _id(self) -> str:
        return self._rng.choice(_IDS) if self._bad() else f"e{self._rng.randrange(self._ids)}"

    def _time(self, day: int | None = None) -> str:
        if day is not None:
            return f"{2020 + day // 336}-{1 + day // 28 % 12:02}-{1 + day % 28:02}T12:00:00Z"
        if self._bad():
            return self._rng.choice(_TIMES)
        return f"2024-05-0{self._rng.randint(1, 3)}T0{self._rng.randint(0, 9)}:00:00Z"

    def _user(self) -> str:
        return self._rng.choice(_USERS) if self._bad() else f"u{self._rng.randrange(4)}"

    def _type(self) -> str:
        return self._rng.choice(_TYPES) if self._bad() else self._rng.choice(["login", "open", "Öffnen"])

    def _properties(self) -> str:
        rng = self._rng
        if self._bad():
            if rng.random() < 0.2:
                return self._deep()
            if self._large and rng.random() < 0.3:
                return rng.choice(
                    [
                        '{"a":"' + "x" * 33_000 + '"}',
                        '{"a":"' + "é" * 16_370 + '"}',
                        '{"a":[' + "0," * 17_000 + "0]}",
                        '{"a":[' + "[]," * 6_000 + "0]}",
                        '{"a":"' + "," * 17_000 + '"}',
                    ]
                )
            return rng.choice(_PROPERTIES)
        return rng.choice(["{}", '{"a": 1}', '{"country":"PL","price":9.5}', '{"b":[1,2],"a":"x, \\"y\\""}'])

    def _deep(self) -> str:
        depth = self._rng.choice(_DEPTHS) - 1
        opened, closed = self._rng.choice([("[", "]"), ('{"a":', "}")])
        return '{"a":' + opened * depth + ("1" if opened != "[" else "") + closed * depth + "}"

    # CSV

    def _csv(self) -> str:
        rng = self._rng
        header = [*COLUMNS]
        if rng.random() < 0.8:
            header.append(rng.choice(["properties_json", "properties"]))
        if rng.random() < 0.3:
            header.append(rng.choice(["note", "", "source", "Event_ID", "event_id ", "properties_json"]))
        if rng.random() < 0.3:
            rng.shuffle(header)
        if rng.random() < 0.04:
            header.pop(rng.randrange(len(header)))
        if rng.random() < 0.03:
            header.insert(rng.randrange(len(header)), rng.choice(header))
        if rng.random() < 0.03:
            header[rng.randrange(len(header))] += rng.choice(["\ufeff", "\u200b", " ", "\n", "\r"])
        delimiter = rng.choice([";", "\t", "|"]) if rng.random() < 0.03 else ","
        end = rng.choices(["\n", "\r\n", "\r", "mixed"], [60, 30, 3, 7])[0]
        days = self._days()
        rows = [header]
        for number in range(days if days > 3 else self._number_of_rows()):
            of_day = number if days > 3 else None
            values = {
                "event_id": self._id(),
                "occurred_at": self._time(of_day),
                "user_id": self._user(),
                "event_type": self._type(),
                "properties_json": self._properties(),
                "properties": self._properties(),
                "note": self._note(),
            }
            row = [values.get(name.strip("\ufeff\u200b \n\r"), "") for name in header]
            if self._bad():
                row = rng.choice([row[:-1], [*row, "x"], [""] * len(row), [], [" "], row[::-1], ["", *row]])
            rows.append(rng.choice(rows[1:]) if len(rows) > 1 and rng.random() < 0.08 else row)
        start = rng.choice(["", "", "", "", "\n", "\r\n", " \n", "\ufeff", "\ufeff\ufeff", "\n\ufeff"])
        lines = [delimiter.join(self._cell(value, delimiter) for value in row) for row in rows]
        return start + self._joined(lines, end)

    def _note(self) -> str:
        """A column that no event has, which may be larger than a row may be."""
        rng = self._rng
        if not self._bad() or rng.random() < 0.6:
            return rng.choice(["", "x", 'said "so"', "two\nlines", "a\r\nb"])
        inner = "e1,2024-05-01T00:00:00Z,u1,login,{},x"
        most = 700_000 if self._large else 9_000
        rows = [inner] * (most // len(inner) + 1)
        lines = rng.choice([["x" * rng.choice([30, most])], rows, ['"' * 40] * (most // 41)])
        return rng.choice(["\n", "\r\n"]).join(lines)

    def _cell(self, value: str, delimiter: str) -> str:
        rng = self._rng
        if self._bad() and rng.random() < 0.5:
            sloppy: list[Callable[[str], str]] = [
                lambda text: text,
                lambda text: f'"{text}',
                lambda text: f'{text}"',
                lambda text: f'"{text}"x',
                lambda text: f'"{text}" ',
                lambda text: f' "{text}"',
                lambda text: "'" + text + "'",
                lambda text: '"' + text.replace('"', '\\"') + '"',
            ]
            return rng.choice(sloppy)(value)
        if any(special in value for special in ('"', "\n", "\r", delimiter)) or rng.random() < 0.1:
            return '"' + value.replace('"', '""') + '"'
        return value

    # JSONL

    def _jsonl(self) -> str:
        rng = self._rng
        end = rng.choices(["\n", "\r\n", "\r", "mixed"], [75, 20, 1, 4])[0]
        days = self._days()
        many = days > 3
        lines: list[str] = []
        for number in range(days if many else self._number_of_rows()):
            again = lines and rng.random() < 0.08
            lines.append(rng.choice(lines) if again else self._json_line(number if many else None))
        start = rng.choice(["", "", "", "", "", "\n", " \n", "\ufeff", "\ufeff\ufeff", "\ufeff\n"])
        return start + self._joined(lines, end)

    def _json_line(self, day: int | None) -> str:
        rng = self._rng
        properties = self._properties()
        fields = {
            "event_id": self._json(self._id()),
            "occurred_at": self._json(self._time(day)),
            "user_id": self._json(self._user()),
            "event_type": self._json(self._type()),
            # As text, so that it may be anything.
            "properties": properties if properties.strip() else "null",
        }
        if rng.random() < 0.1:
            fields.pop("properties")
        if self._bad():
            name = rng.choice([*fields])
            kinds = ["null", "1", "-5", "1.5", "1e400", "true", "[]", "{}", '""', "9" * 400, "9" * 1_001, '"\\ud800"']
            change = rng.randrange(7)
            if change == 0:
                fields.pop(name)
            elif change == 1:
                fields = {"more": self._deep() if rng.random() < 0.5 else self._json(self._note()), **fields}
            elif change == 2:
                fields[name + " "] = "1"
            elif change < 6:
                fields[name] = rng.choice(kinds)
            else:
                twice = [*fields.items(), (name, fields[name])]
                line = "{" + ",".join(f'"{key}":{value}' for key, value in twice) + "}"
                escaped = f'"\\u{ord(name[0]):04x}{name[1:]}"'
                return line if rng.random() < 0.5 else line.replace(f'"{name}"', escaped, 1)
        line = "{" + rng.choice([",", ", "]).join(f'"{key}":{value}' for key, value in fields.items()) + "}"
        if self._bad():
            other = [
                *("[]", "[1]", "1", '"a"', "null", "{}", "x", "", " ", "\x1c", "\ufeff", "NaN", "[" * 2_000),
                *("[" + line + "]", line + line, line + ",", " " + line + " "),
                *(line[: rng.randrange(len(line))], line[rng.randrange(len(line)) :]),
            ]
            return rng.choice(other)
        return line

    def _json(self, text: str) -> str:
        # json.dumps writes a lone half of a surrogate pair as an escape, or leaves it for a byte that is no text.
        return json.dumps(text, ensure_ascii=self._rng.random() < 0.5)

    # Bytes

    def _joined(self, lines: list[str], end: str) -> str:
        rng = self._rng
        text = ""
        for line in lines:
            text += line + (rng.choice(["\n", "\r\n", "\n\n", "\r", "\r\r\n", "\n \n"]) if end == "mixed" else end)
        return text if rng.random() < 0.7 else text.rstrip("\r\n")

    def _neither(self) -> str:
        rng = self._rng
        event = dict(zip(COLUMNS, (self._id(), self._time(), self._user(), self._type()), strict=True))
        documents = [[event], [event, event], {"events": [event]}, event]
        made = [
            *(json.dumps(document, indent=indent) for document in documents for indent in (None, 2)),
            *(json.dumps(document, indent=indent)[:-1].rstrip() for document in documents for indent in (None, 2)),
            "[\n" + ",\n".join([json.dumps(event)] * rng.choice([1, 2, 30])),
            *("", "\n", " ", "\ufeff", "\x00", "null", "PK\x03\x04", "%PDF-1.7", "<html>", "{}\n", "[]\n", '"'),
            *('"\n', ",", "".join(chr(rng.randrange(256)) for _ in range(60)), "PAR1" + "\x00" * 20),
            *("event_id", ",".join(COLUMNS), "\n" * 50, "{" * 50, "[" * 3_000, '{"a":' * 3_000),
            " " * 100 + "{",
        ]
        return rng.choice(made)

    def _encoded(self, text: str) -> bytes:
        """In UTF-8, where half of a surrogate pair becomes a byte that is no text, or in another encoding."""
        encodings = {"utf-8": 93, "utf-16": 1, "utf-16-le": 1, "utf-16-be": 1, "utf-32": 1, "latin-1": 2, "cp1252": 1}
        encoding = self._rng.choices([*encodings], [*encodings.values()])[0]
        if encoding == "utf-8":
            return b"".join(
                bytes([ord(character) & 0xFF]) if "\ud800" <= character <= "\udfff" else character.encode()
                for character in text
            )
        return text.encode(encoding, "replace")

    def _damaged(self, content: bytes) -> bytes:
        rng = self._rng
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 1, 1, 2, 4])):
            place = rng.randint(0, len(damaged))
            damage = rng.randrange(6)
            if damage == 0:
                del damaged[place:]
            elif damage == 1:
                del damaged[place : place + rng.choice([1, 1, 5, 50])]
            elif damage == 2:
                damaged[place:place] = damaged[max(0, place - rng.choice([5, 80])) : place]
            else:
                damaged[place : place + rng.randint(0, 1)] = rng.choice(_TOKENS)
        return bytes(damaged)

    def _compressed(self, content: bytes) -> bytes:
        rng = self._rng
        middle = rng.randint(0, len(content))
        whole = gzip.compress(content, mtime=0)
        members = gzip.compress(content[:middle], mtime=0) + gzip.compress(content[middle:], mtime=0)
        flipped = bytearray(whole)
        flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        cut = whole[: rng.randint(0, len(whole))]
        # Most is sound, or every other fault would be found in no row.
        often = [whole] * 8 + [members] * 4 + [cut] * 3
        return rng.choice(
            [*often, whole + bytes(20), whole + b"rest", bytes(flipped), whole[:-8], gzip.compress(whole, mtime=0)]
        )
