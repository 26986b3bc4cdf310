#!/usr/bin/env python3
"""Golden file of the chat templates, made by jinja2.

    python3 tests/twins/chat_twin.py tests/golden/chat/cases.json

Templates of our own in the styles that models come with, white space and expressions drawn at random; each
with what jinja2 makes of it when it is set up as Hugging Face does.  "text" is null where it fails.
Made with jinja2 3.1.6.
"""
import json
import random
import sys

from datetime import datetime

from chat_snippets import FAMILIES, SNIPPETS
from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

CHATML = """{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] }}\
{{ '<|im_end|>' + '\\n' }}{% endfor %}
{% if add_generation_prompt %}
{{ '<|im_start|>assistant\\n' }}
{% endif %}"""

LLAMA2 = """{%- if messages[0].role == 'system' -%}
    {%- set loop_messages = messages[1:] -%}
    {%- set system = messages[0].content | trim -%}
{%- else -%}
    {%- set loop_messages = messages -%}
    {%- set system = none -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message.role == 'user') != (loop.index0 % 2 == 0) -%}
        {{- raise_exception('roles must take turns: ' ~ message.role) -}}
    {%- endif -%}
    {%- if loop.first and system is not none -%}
        {%- set content = '<<SYS>>\\n' + system + '\\n<</SYS>>\\n\\n' + message.content -%}
    {%- else -%}
        {%- set content = message.content -%}
    {%- endif -%}
    {%- if message.role == 'user' -%}
        {{- bos_token + '[INST] ' + content.strip() + ' [/INST]' -}}
    {%- elif message.role == 'assistant' -%}
        {{- ' ' + content.strip() + ' ' + eos_token -}}
    {%- else -%}
        {{- raise_exception('only user and assistant') -}}
    {%- endif -%}
{%- endfor -%}
"""

LLAMA3 = """{{- bos_token }}
{#- Parts for tools are there, and never reached. #}
{%- if tools is not none and tools is not mapping %}
    {{- tools | tojson(indent=4) }}
{%- endif %}
{%- if not date is defined %}
    {%- set date = "1 Jan 2026" %}
{%- endif %}
{%- for message in messages %}
    {%- if message.role not in ["system", "user", "assistant"] %}
        {{- raise_exception("unknown role") }}
    {%- endif %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
    {%- if loop.first and message.role == "system" %}{{- "Today: " + date + "\\n" }}{%- endif %}
    {{- message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""

MISTRAL = """{%- set ns = namespace(turn=0, system='') %}
{{- bos_token }}
{%- for m in messages %}
    {%- if m["role"] == "system" %}
        {%- set ns.system = m["content"] + "\\n\\n" %}
    {%- elif m["role"] == "user" %}
        {%- if ns.turn % 2 != 0 %}{{ raise_exception("not your turn") }}{% endif %}
        {{- "[INST] " + (ns.system if loop.last else "") + m["content"] + "[/INST]" }}
        {%- set ns.turn = ns.turn + 1 %}
    {%- else %}
        {%- set ns.turn = ns.turn + 1 %}
        {{- " " ~ m["content"] | trim ~ eos_token }}
    {%- endif %}
{%- endfor %}
"""

ZEPHYR = """{% for message in messages %}
{% if message['role'] == 'user' %}
{{ '<|user|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'system' %}
{{ '<|system|>\\n' + message['content'] + eos_token }}
{% elif message['role'] == 'assistant' %}
{{ '<|assistant|>\\n'  + message['content'] + eos_token }}
{% endif %}
{% if loop.last and add_generation_prompt %}
{{ '<|assistant|>' }}
{% endif %}
{% endfor %}
"""

# The way of templates that look back for what was thought.
BACKWARDS = """{%- set ns = namespace(searching=true, last=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.searching and message.role == "user" and message.content is string and not(message.content.startswith('<t>') and message.content.endswith('</t>')) %}
        {%- set ns.searching = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}{%- set content = message.content %}{%- else %}{%- set content = '' %}{%- endif %}
    {%- if message.reasoning_content is defined and message.reasoning_content is not none %}{{ message.reasoning_content }}{% endif %}
    {{- '<|im_start|>' + message.role + '\\n' }}{% if loop.index0 > ns.last or loop.last %}{{ '<think>' }}{% endif %}{{ content.lstrip().rstrip() + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""

CHATS = [
    [],
    [("user", "Hello, how are you?")],
    [("system", " You are kind.\n"), ("user", "  What is 2+2? "), ("assistant", " Four.\n"), ("user", "Why?")],
    [("user", "één\u2003\u00a0"), ("assistant", "\x1c\U0001F600 "), ("user", "<t>x</t>"), ("assistant", "{{ no }}")],
    [("user", "a"), ("user", "b")],
    [("user", "a"), ("tool", "b"), ("assistant", "")],
]


DATE = "2026-03-07 08:05:09"

# Messages as they come with tools, and all else that a template may be given.
TOOLS = [{"type": "function", "function": {
    "name": "tide", "description": "Height of the tide <at> a \"port\" & hour.", "parameters": {
        "type": "object", "required": ["port"], "properties": {
            "port": {"type": "string", "description": "The port.", "enum": ["Nordhafen", "Süd"]},
            "hour": {"type": "integer", "default": 12},
            "units": {"type": "array", "items": {"type": "string"}},
            "deep": {"type": ["number", "null"], "minimum": -1.5}}}}},
    {"type": "function", "function": {"name": "moon", "description": "", "parameters": {"type": "object", "properties": {}}}}]
CALLS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "How high is the tide at noon?"},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": {
        "name": "tide", "arguments": {"port": "Nordhafen", "hour": 12, "units": ["m", "ft"], "exact": True, "x": None, "f": 0.5}}}]},
    {"role": "tool", "name": "tide", "tool_call_id": "call_1", "content": '{"m": 2.1}'},
    {"role": "assistant", "content": "<think>\nIt rose.\n</think>\n\n2.1 m.", "reasoning_content": "It rose."},
    {"role": "user", "content": [{"type": "text", "text": "Thank you."}, {"type": "image"}]},
]


# More names for the template.
GIVEN = {"enable_thinking": False, "words": ["pear", "Apple", "fig", "apple", "Éclair"], "numbers": [3, -1, 2.5, 10],
         "text": "  Ab cd\tEF\n\ngh ", "nested": {"a": {"b": [1, {"c": "deep"}]}, "Z": 1, "y": None},
         "people": [{"name": "Ann", "age": 31, "at": {"town": "Oslo"}}, {"name": "bob", "age": 25, "at": {"town": "Bern"}},
                    {"name": "Cy", "age": 31, "at": {"town": "bern"}}, {"name": "Di", "at": {}}],
         "one": 1, "zero": 0, "real": 2.5, "yes": True, "nil": None, "empty": [], "void": {}}


def environment():
    def raise_exception(message):
        raise TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def strftime_now(form):
        return datetime.fromisoformat(DATE).strftime(form)

    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[Generation, "jinja2.ext.loopcontrols"])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = strftime_now
    return env


class Generation(Extension):
    """{% generation %}: what is inside is written as it is."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_inside"), [], [], body).set_lineno(line)

    def _inside(self, caller):
        return caller()


def case(name, template, chat, answer=True, bos="<s>", eos="</s>", tools=None, variables=None):
    messages = [m if isinstance(m, dict) else {"role": m[0], "content": m[1]} for m in chat]
    names = {"messages": messages, "tools": tools, "documents": None, "add_generation_prompt": answer}
    names.update({k: v for k, v in (("bos_token", bos), ("eos_token", eos)) if v is not None})
    names.update(variables or {})
    try:
        text = environment().from_string(template).render(**names)
        text.encode()
    except Exception as error:
        text, name = None, name + ": " + type(error).__name__
    out = {"name": name, "template": template, "bos": bos, "eos": eos, "messages": messages, "answer": answer,
           "text": text}
    if tools is not None:
        out["tools"] = tools
    if variables:
        out["variables"] = variables
    return out


def space(rng):
    return "".join(rng.choice(["", " ", "\n", "\t", "  ", "a", "é", "\r\n", " \n", "\u2003", "\x1c"])
                   for _ in range(rng.randint(0, 4)))


def drawn_space(rng, depth=0):
    """Text and tags with every sign that has to do with white space."""
    out = space(rng)
    for _ in range(rng.randint(1, 3)):
        a, b, c, d = (rng.choice(["", "", "-", "+"]) for _ in range(4))
        kind = rng.randrange(5)
        body = drawn_space(rng, depth + 1) if depth < 2 else space(rng)
        if kind == 0:
            out += "{%" + a + " if true " + b + "%}" + body + "{%" + c + " endif " + d + "%}"
        elif kind == 1:
            out += "{%" + a + " for i in [1, 2] " + b + "%}" + body + "{%" + c + " endfor " + d + "%}"
        elif kind == 2:
            out += "{#" + a + " {{ %} " + b + "#}"
        elif kind == 3:
            out += "{{" + a.replace("+", "") + " '}}' " + b.replace("+", "") + "}}"
        else:
            out += "{%" + a + " set x = 1 " + b + "%}"
        out += space(rng)
    return out


def drawn_value(rng, depth):
    leaf = ["1", "0", "7", "-3", "'ab'", "' c '", "''", "\"é\\n\"", "true", "False", "none", "missing", "bos_token",
            "messages", "messages[0].role", "messages[-1]['content']", "messages[9]", "n", "'a\\x41\\u00e9\\q'",
            "messages[0].other", "[1, 'ab']"]
    if depth == 0 or rng.random() < 0.2:
        return rng.choice(leaf)
    x = lambda: drawn_value(rng, depth - 1)
    return rng.choice([
        lambda: f"({x()})", lambda: f"{x()} + {x()}", lambda: f"{x()} ~ {x()}", lambda: f"{x()} == {x()}",
        lambda: f"({x()}) != {x()}", lambda: f"{x()} and {x()}", lambda: f"{x()} or {x()}", lambda: f"not {x()}",
        lambda: f"{x()} if {x()} else {x()}", lambda: f"{x()} is defined", lambda: f"{x()} is not none",
        lambda: f"{x()} is string", lambda: f"{x()} in {x()}", lambda: f"{x()} not in {x()}",
        lambda: f"{x()} | trim", lambda: f"{x()} | length", lambda: f"({x()}).strip()",
        lambda: f"({x()}).startswith('a')", lambda: f"{x()} % 3", lambda: f"{x()} - {x()}", lambda: f"{x()} // -2",
        lambda: f"{x()} * 2", lambda: f"({x()}) < ({x()})", lambda: f"({x()})[{rng.choice(['1:', ':-1', '::-1', '-2:9', ':0:-1', '1'])}]",
        lambda: f"-{rng.choice(leaf[:4])}", lambda: f"({x()}) | upper", lambda: f"{x()} | string | lower",
        lambda: f"{x()} is mapping", lambda: f"{x()} is iterable", lambda: f"{x()} is true",
        lambda: f"({x()}) if {x()}", lambda: f"{x()} is number"])()


def main(path):
    cases = []
    styles = {"chatml": CHATML, "llama2": LLAMA2, "llama3": LLAMA3, "mistral": MISTRAL, "zephyr": ZEPHYR,
              "backwards": BACKWARDS}
    for name, template in styles.items():
        for k, chat in enumerate(CHATS):
            for answer in (False, True):
                cases.append(case(f"{name} {k}", template, chat, answer))
    cases.append(case("no tokens", LLAMA3, CHATS[1], True, None, None))
    cases.append(case("no bos", "{{ bos_token }}|{{ bos_token is defined }}", [], True, None))
    scopes = ("{% set x = 1 %}{% for m in messages %}{% set x = x + 1 %}{{ x }}{% if true %}{% set x = 9 %}{% endif %}"
              "{{ x }}{% for k in [1] %}{% set x = x + k %}{{ x }}{{ loop.index }}{% endfor %}{{ loop.index }},"
              "{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.length }}{{ m }}{% endfor %}{{ x }}{{ m is defined }}")
    cases.append(case("scopes", scopes.replace("{{ m }}", ""), CHATS[2], True))
    rng = random.Random(5)
    for i in range(160):
        cases.append(case(f"space {i}", drawn_space(rng), [], True))
    wanted = 260
    while wanted > 0:
        template = "{% set n = 4 %}{{ " + drawn_value(rng, 3) + " }}"
        made = case(f"value {wanted}", template, CHATS[2], True)
        # A few that fail are enough; where in memory a thing lies is told by Python alone.
        if made["text"] is None and rng.random() < 0.85 or made["text"] and " at 0x" in made["text"]:
            continue
        cases.append(made)
        wanted -= 1
    for i, snippet in enumerate(SNIPPETS):
        made = case(f"snippet {i}", snippet, CALLS, True, tools=TOOLS, variables=GIVEN)
        if made["text"] is not None and " at 0x" in made["text"]:
            continue
        cases.append(made)
    for name, template in FAMILIES.items():
        for k, chat in enumerate(CHATS + [CALLS, CALLS[:4], CALLS[1:2]]):
            for answer in (False, True):
                cases.append(case(f"{name} {k}", template, chat, answer))
                cases.append(case(f"{name} {k} tools", template, chat, answer, tools=TOOLS,
                                  variables={"enable_thinking": answer, "date_string": "1 May 2026"}))
    write(path, cases)
    print(len(cases), "cases,", sum(c["text"] is None for c in cases), "that fail")


def write(path, cases):
    """What several cases have in common stands once, and a case has its number: {"shared": [...], "cases": [...]}."""
    shared, numbers = [], {}

    def number(value):
        key = json.dumps(value)
        if key not in numbers:
            numbers[key] = len(shared)
            shared.append(value)
        return numbers[key]

    for made in cases:
        for name in ("messages", "tools", "variables"):
            if name in made:
                made[name] = number(made[name])
        if len(made["template"]) > 400:
            made["template"] = number(made["template"])
    with open(path, "w", encoding="utf-8") as f:
        row = lambda x: json.dumps(x, ensure_ascii=True)
        f.write('{"shared": [\n' + ",\n".join(map(row, shared)) + '\n],\n"cases": [\n' +
                ",\n".join(map(row, cases)) + "\n]}\n")


if __name__ == "__main__":
    main(sys.argv[1])
