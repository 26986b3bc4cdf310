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


def environment():
    def raise_exception(message):
        raise ValueError(message)
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=["jinja2.ext.loopcontrols"])
    env.globals["raise_exception"] = raise_exception
    return env


def case(name, template, chat, answer, bos="<s>", eos="</s>"):
    messages = [{"role": r, "content": c} for r, c in chat]
    names = {"messages": messages, "tools": None, "documents": None, "add_generation_prompt": answer}
    names.update({k: v for k, v in (("bos_token", bos), ("eos_token", eos)) if v is not None})
    try:
        text = environment().from_string(template).render(**names)
    except Exception as error:
        text, name = None, name + ": " + type(error).__name__
    return {"name": name, "template": template, "bos": bos, "eos": eos, "messages": messages, "answer": answer,
            "text": text}


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
        # Lists and the like print as Python does, which is refused; a few that fail are enough.
        if made["text"] is None and rng.random() < 0.85 or made["text"] and made["text"][0] in "[{<":
            continue
        cases.append(made)
        wanted -= 1
    with open(path, "w", encoding="utf-8") as f:
        json.dump(cases, f, ensure_ascii=True, indent=0)
        f.write("\n")
    print(len(cases), "cases,", sum(c["text"] is None for c in cases), "that fail")


if __name__ == "__main__":
    main(sys.argv[1])
