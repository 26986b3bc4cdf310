"""Small templates, each for a construct of Jinja, and longer ones in the manner of models' families.

All in our own words; what jinja2 makes of them is written by chat_twin.py.
"""

# Expressions, printed between bars.
EXPRESSIONS = r"""
1 + 2 * 3 - 4 // 3 % 2
7 / 2
-7 // 2
-7 % 3
7 % -3
2 ** 10
2 ** -1
2 ** 3 ** 2
1.5 + 1
1e3
1e22
1e16
123456789012345680.0
0.1 + 0.2
1e-5
0.0001
1_000
0x1F
0o17
0b101
1.0
100.0
-0.0
3.0 // 2
-3.5 % 2
7.5 // -2
1 / 3
5 // 0
5 / 0
1 % 0
1.0 % 0
'a' 'b' "c"
'a' * 3
3 * 'ab'
'a' * -1
[1, 2] * 2
[1] + [2, 3]
(1,) + (2,)
[1] + (2,)
'a' + 1
1 + 'a'
'a' ~ 1 ~ none ~ true ~ 2.5 ~ [1]
1 < 2 < 3
1 < 3 < 2
3 > 2 >= 2 != 1
1 == 1.0
1 == true
true + 1
'a' < 'b'
'B' < 'a'
[1, 2] < [1, 3]
(1, 'a') < (1, 'b')
1 < 'a'
none < 1
none == none
missing == missing
missing == none
[1, [2, 3]] == [1, [2, 3]]
(1, 2) == [1, 2]
{'a': 1, 'b': 2} == {'b': 2, 'a': 1}
{'a': 1} == {'a': 2}
'ell' in 'hello'
'' in ''
2 in [1, 2]
2 not in [1, 2]
'a' in {'a': 1}
1 in 'a'
'x' in missing
not true
not not 3
not 1 == 2
1 and 2
0 and 2
0 or 'x'
'' or none
1 if true else 2
1 if false
(1 if false) is defined
1 if false else 2 if false else 3
[1, 2, 3]
(1, 2)
(1,)
()
[]
{}
{'a': 1, 'b': [1, 'x'], 3: none, none: true, 2.5: 'r'}
{1: 'a', true: 'b'}
['it\'s', "say \"hi\"", 'both \' and "', 'tab\t', 'nl\n', 'bs\\', '\x01\x7f\x80', 'é', '\u200b', '\U0001F600']
[missing]
[1.0, 1e100, -0.0]
'\101\x41\u0041\q\a'
'a\
b'
1, 2
1,
words[0]
words[-1]
words[9]
words[1:3]
words[:-1]
words[::-1]
words[::2]
words[3:0:-2]
words[-100:100]
words[1:1]
(1, 2, 3)[1:]
'hello'[1]
'hello'[-1]
'hello'[10]
'hello'[1:3]
'hello'[::-1]
'hello'[::2]
'héllo\U0001F600x'[1]
'héllo\U0001F600x'[5:]
'héllo\U0001F600x'[::-1]
'héllo\U0001F600x' | length
'hello'['upper']()
words['length']
nested.a.b[1].c
nested['a']['b'][0]
nested.a['b'].1.c
nested.missing
nested.missing.more
nested['missing']['more']
nested.items
missing.x
missing['x']
missing[0]
missing()
none.x
none['x']
none.x.y
5[0]
5['a']
(5).x
true.x
'a'.missing
'a'.missing()
nested.get('a')
nested.get('q')
nested.get('q', 'd')
nested.get()
nested.keys()
nested.values()
nested.items()
nested.keys() | list
nested.items() | list
nested.items() | length
nested.items()[0]
nested | list
nested | length
nested | first
nested | last
nested.copy()
nested.pop('a')
nested.pop
nested.pop is defined
nested.update({'a': 1})
words.append('x')
words.append
words.count('fig')
words.index('fig')
words.index('nope')
words.copy()
words.__class__
words.__class__ is defined
''.__class__.__mro__
nested.__len__
(1, 2, 1).count(1)
dict(a=1, b='x')
dict({'a': 1}, b=2)
dict([('a', 1), ['b', 2]])
range(5) | list
range(2, 5) | list
range(10, 0, -3) | list
range(0)| list
range(3)
range(1, 4)
range(3)[1]
range(3) | length
range(0, 10, 0)
range(1000000)
range('a')
2 in range(3)
namespace(a=1, b='x')
namespace({'a': 1}, b=2).b
namespace(a=1)['a']
namespace(a=1).q
cycler('a', 'b').next()
cycler()
joiner('|')()
text | trim
text.strip()
text.strip() | length
'xxaxx'.strip('x')
'xyaxy'.strip('yx')
'xxaxx'.lstrip('x')
'xxaxx'.rstrip('x')
'éaé'.strip('é')
'xxaxx' | trim('x')
' a '.strip(none)
' a '.strip(1)
'a,b,c'.split(',')
'a,b,c'.split(',', 1)
'a,b,c'.split(',', maxsplit=1)
'a,b,c'.rsplit(',', 1)
' a  b c '.split()
' a  b c '.split(none, 1)
' a  b c '.rsplit(none, 1)
' a  b c '.split(' ')
''.split()
''.split(',')
'abc'.split('')
'a<>b<>c'.split('<>')
'aaa'.rsplit('aa')
'aaa'.split('aa')
'a\nb\r\nc\n\nd'.splitlines()
'a\nb\n'.splitlines(true)
'a\u2028b\x0bc'.splitlines()
'abcabc'.replace('b', 'X')
'abcabc'.replace('b', 'X', 1)
'abc'.replace('', '-')
'abc'.replace('', '-', 2)
''.replace('', '-')
'aaaa'.replace('aa', 'b')
'abc'.replace('b')
'abc'.replace('b', 1)
'abc' | replace('b', 1)
'abc' | replace('b', 'x', 0)
'a.b.a' | replace('a', '<', 1)
12321 | replace(2, 'x')
'hello'.startswith('he')
'hello'.startswith(('x', 'he'))
'hello'.startswith(['he'])
'hello'.startswith('l', 2)
'hello'.startswith('')
'hello'.endswith('lo')
'hello'.endswith('l', 0, 4)
'hello'.find('l')
'hello'.find('l', 3)
'hello'.find('q')
'hello'.rfind('l')
'héllo'.find('l')
'hello'.index('l')
'hello'.index('q')
'hello'.rindex('l')
'hello'.count('l')
'hello'.count('')
'hello'.count('l', 3)
'aaa'.count('aa')
'a-b-c'.partition('-')
'a-b-c'.rpartition('-')
'abc'.partition('-')
'abc'.rpartition('-')
'preabc'.removeprefix('pre')
'abcsuf'.removesuffix('suf')
'abc'.removeprefix('x')
'Hello World'.upper()
'Hello World'.lower()
'hello wORLD'.title()
"they're bill's o'clock"  .title()
'hello wORLD'.capitalize()
'Hello World'.swapcase()
'straße ǆ ŉ ﬁ'.upper()
'ÀÉÎ ΑΣ ΟΔΟΣ Σ ΣΑ İ'.lower()
'ǆ ß ﬁ éa'.title()
'ǆabc'.capitalize()
'ПРИВЕТ мир'.capitalize()
'привет' | upper
'привет мир' | title
'hello-world (foo) [bar] {baz} <qux> it\'s' | title
'hello wORLD' | capitalize
'İstanbul' | lower
12 | upper
none | upper
missing | upper
missing | trim
missing | lower | length
'abc'.center(10) ~ '|'
'abc'.center(9, '*')
'abcd'.center(9, '*')
'abc'.ljust(6, '.')
'abc'.rjust(6, '.')
'abc'.rjust(2)
'42'.zfill(5)
'-42'.zfill(5)
'abc' | center(9)
'abc'.isalpha()
'abc1'.isalnum()
'123'.isdigit()
''.isdigit()
' \t'.isspace()
'abc'.islower()
'ABC1'.isupper()
'123'.isupper()
'é'.isascii()
','.join(['a', 'b'])
','.join([1, 2])
','.join('abc')
', '.join(nested)
'{} and {}'.format(1, 'x')
'{0}{1}{0}'.format('a', 'b')
'{a} {b}'.format(a=1, b=[1])
'{:>5}|{:<5}|{:^5}|{:*^7}'.format('a', 'b', 'c', 'd')
'{:5d}|{:05d}|{:+d}|{:,}|{:x}|{:#x}|{:b}|{:o}|{:X}'.format(42, 42, 42, 1234567, 255, 255, 5, 8, 255)
'{:.2f}|{:8.3f}|{:e}|{:g}|{:%}|{:.1%}'.format(3.14159, 2.5, 12345.678, 0.0001, 0.5, 0.125)
'{{}} {0[a]} {0[b]}'.format({'a': 1, 'b': 2})
'{0.a}'.format(namespace(a=1))
'{!r} {!s}'.format('a', 'a')
'{} {0}'.format(1)
'{} {}'.format(1)
'{'.format(1)
'{:d}'.format('a')
'{:s}'.format(1)
'{:.2}'.format('abcdef')
'{:10}|'.format('é')
'{}'.format(none)
'{:5}'.format(none)
'{:5}|{:5}'.format(true, 2.5)
'{:_}'.format(1234567)
'{:.3}'.format(true)
'%s and %s' % ('a', 1)
'%s' % 'x'
'%s' % [1]
'%d' % 3.9
'%d' % '3'
'%5d|%-5d|%05d|%+d|% d' % (1, 2, 3, 4, 5)
'%.2f|%8.3f|%e|%g' % (3.14159, 2.5, 12345.678, 0.0001)
'%x|%X|%o|%#x' % (255, 255, 8, 255)
'%(a)s %(b)d' % {'a': 'x', 'b': 2}
'%r' % 'a'
'%%' % ()
'%s' % ()
'%s' % (1, 2)
'%c%c' % ('a', 98)
'%5s|%-5s|%.2s' % ('a', 'b', 'cdef')
'%*d' % (5, 42)
'%-08d|' % 5
'%s %s' | format('a', 2)
'%(a)s' | format(a=1)
'%s' | format
words | join(', ')
words | join
[1, none, 2.5, true] | join('-')
people | join(', ', attribute='name')
people | join(attribute='name')
missing | join(',')
'abc' | join('.')
5 | join
words | first
words | last
empty | first
empty | last
(empty | first) is defined
'' | last
'abc' | first
'abc' | last
missing | first
words | length
words | count
5 | length
none | length
missing | length
words | sort
words | sort(true)
words | sort(case_sensitive=true)
words | sort(reverse=true, case_sensitive=true)
numbers | sort
[1, 'a'] | sort
'bca' | sort
people[:3] | sort(attribute='age') | map(attribute='name') | list
people[:3] | sort(attribute='age,name', reverse=true) | map(attribute='name') | list
people | sort(attribute='age')
people | sort(attribute='at.town') | map(attribute='name') | join(' ')
[[2, 'b'], [1, 'c'], [2, 'a']] | sort
[[2, 'b'], [1, 'c'], [2, 'a']] | sort(attribute=1)
nested | sort
nested | dictsort
nested | dictsort(true)
{'b': 1, 'A': 2, 'c': 0} | dictsort(by='value')
{'b': 1, 'A': 2, 'c': 0} | dictsort(reverse=true)
{'b': 1, 'A': 2, 'c': 0} | dictsort(false, 'value', true)
{'b': 1} | dictsort(by='x')
words | unique | list
words | unique(true) | list
[1, 1.0, true, 2] | unique | list
people | unique(attribute='age') | map(attribute='name') | list
words | reverse | list
'abc' | reverse
words | reverse
range(3) | reverse | list
nested | reverse | list
words | map('upper') | list
words | map('replace', 'p', 'P') | list
words | map('length') | sum
words | map('truncate', 3, end='') | list
people | map(attribute='age') | list
people | map(attribute='age', default=0) | list
people | map(attribute='at.town', default='?') | list
[[1, 2], [3, 4]] | map('first') | list
[[1, 2], [3, 4]] | map(attribute=1) | list
[[1, 2], [3, 4]] | map(attribute='1') | list
words | map('nope') | list
words | map | list
words | map('upper')
words | map('upper') | length
words | map('upper') | first
words | select | list
[0, 1, '', 'a', none] | select | list
numbers | select('gt', 2) | list
numbers | select('>', 2) | list
numbers | reject('odd') | list
[1, 2, 3] | select('odd') | list
[1, 2, 3] | reject('even') | list
words | select('in', ['fig', 'pear']) | list
words | select('nope') | list
people | selectattr('age') | map(attribute='name') | list
people | selectattr('age', 'equalto', 31) | map(attribute='name') | list
people | selectattr('age', 'defined') | list | length
people | rejectattr('age', 'defined') | map(attribute='name') | list
people | rejectattr('age') | list | length
people | selectattr('at.town', 'eq', 'Oslo') | list | length
people | selectattr('name', 'in', ['Ann', 'Di']) | list | length
people | selectattr
none | map('upper') | list
0 | map
none | select | list
none | selectattr('x', 'eq', 1) | list | length
'' | reject('odd') | list
none | sort
messages | selectattr('role', 'equalto', 'user') | list | length
messages | rejectattr('role', 'equalto', 'system') | map(attribute='role') | join(',')
messages | selectattr('tool_calls', 'defined') | list | length
messages | map(attribute='content') | select('string') | list | length
(messages | selectattr('role', 'eq', 'nobody') | first) is defined
numbers | sum
numbers | sum(start=100)
people[:3] | sum(attribute='age')
people | sum(attribute='age')
words | sum
[[1], [2]] | sum(start=[])
numbers | max
numbers | min
words | max
words | min
words | max(case_sensitive=true)
people[:3] | max(attribute='age')
empty | max
(empty | min) is defined
people[:3] | groupby('age') | list
people[:3] | groupby('at.town')
people | groupby('age', default=0) | map(attribute='grouper') | list
people[:3] | groupby('at.town', case_sensitive=true) | map(attribute=0) | list
words | batch(2) | list
words | batch(2, '-') | list
words | batch(10) | list
words | slice(2) | list
words | slice(2, '-') | list
words | slice(3, '-') | list
[1, 2, 3, 4] | slice(2, '-') | list
nested | items | list
missing | items | list
words | items | list
nested | tojson
nested | tojson(indent=2)
nested | tojson(indent=0)
[1, [2, {}], [], {'a': []}] | tojson(indent=4)
[] | tojson(indent=2)
nested | tojson(separators=(',', ':'))
nested | tojson(indent=1, separators=(', ', ' = '))
{'b': 1, 'a': 2} | tojson(sort_keys=true)
['é', '\u2028', '\U0001F600', '<b>&\'"', '\\', '\b\f\n\r\t\x01\x7f'] | tojson
['é', '\U0001F600', '\x7f\x80'] | tojson(ensure_ascii=true)
[1, 1.0, 1e20, 1e-7, 0.1, -0.0, true, none] | tojson
{1: 'a', true: 'b', none: 'c', 2.5: 'd'} | tojson
{(1, 2): 'a'} | tojson
(1, 2) | tojson
missing | tojson
nested.items() | tojson
range(3) | tojson
'a' | tojson
tools | tojson
tools[0].function.parameters.properties | tojson
tools | tojson(indent=4)
messages[2].tool_calls[0].function.arguments | tojson
1e999 | tojson
3 | abs
-3 | abs
-2.5 | abs
'a' | abs
2.5 | round
3.5 | round
2.567 | round(2)
2.5 | round(method='ceil')
2.5 | round(0, 'floor')
-2.567 | round(1, 'floor')
42 | round
42 | round(1)
42 | round(method='ceil')
2.675 | round(2)
'x' | round
'42' | int
' 42 ' | int
'-4_2' | int
'4.9' | int
'1e3' | int
'x' | int
'x' | int(7)
'ff' | int(base=16)
'0xff' | int(0, 16)
'101' | int(base=2)
4.9 | int
-4.9 | int
none | int
none | int(-1)
[] | int
true | int
missing | int
'' | int
'2.5' | float
'x' | float
'x' | float(1.5)
' 1e3 ' | float
'inf' | float
'nan' | float
'.5' | float
'5.' | float
3 | float
none | float
missing | float
5 | string
[1, 'a'] | string
missing | string
none | string
true | string | lower
'abc' | list
5 | list
missing | list
{'a': 1} | list
missing | default('d')
missing | default
none | default('d')
none | default('d', true)
'' | default('d', true)
0 | d(5)
0 | d(5, boolean=true)
nested.q.r | default('d')
nested.q | default('d')
'a\nb\n\nc' | indent
'a\nb\n\nc' | indent(2)
'a\nb\n\nc' | indent(2, true)
'a\nb\n\nc' | indent(2, first=true, blank=true)
'a\nb\n' | indent('> ')
'' | indent
'a\r\nb' | indent(1)
'hello big world out there' | truncate(12)
'hello big world out there' | truncate(12, true)
'hello big world out there' | truncate(12, false, '!')
'hello big world' | truncate(12)
'hello big world' | truncate(12, leeway=0)
'hello' | truncate(2)
'hello big, world' | wordcount
'a b/c?d=é&' | urlencode
{'class': 'a b', 'id': none, 'x': '<'} | xmlattr
'<a href="x">\'&' | escape
'<a>' | e
('<a>' | e) ~ '<b>'
('<a>' | safe) ~ '<b>'
('<a>' | safe) + '<b>'
'<b>' + ('<a>' | safe)
'<a>' | safe
('<a>' | safe) is escaped
['<a>' | safe]
'<a>' | e | e
'<a>' | e | forceescape
words | attr('count')
nested | attr('a')
namespace(a=3) | attr('a')
5 | nope
5 is nope
missing is defined
words is defined
nested.q is undefined
none is none
none is not none
missing is none
'a' is string
5 is number
5 is integer
5.0 is integer
5.0 is float
true is number
true is integer
true is boolean
1 is boolean
true is true
1 is true
false is false
nested is mapping
words is mapping
words is sequence
'a' is sequence
nested is sequence
nested.items() is sequence
(words | map('upper')) is sequence
5 is sequence
missing is sequence
words is iterable
'a' is iterable
5 is iterable
missing is iterable
nested.items() is iterable
none is iterable
namespace() is iterable
range is callable
words.count is callable
'a'.upper is callable
5 is callable
missing is callable
3 is odd
4 is even
-3 is odd
9 is divisibleby(3)
9 is divisibleby 2
9 is divisibleby(0)
'a' is odd
'abc' is lower
'ABC' is upper
'Abc' is lower
1 is eq(1)
1 is equalto 1
1 is ne 2
1 is lt 2
1 is gt(2)
1 is le 1
1 is ge 2
1 is lessthan 2
1 is greaterthan 0
2 is in [1, 2]
'a' is in 'abc'
2 is not in [1, 2]
none is sameas none
true is sameas true
1 is sameas true
words is sameas words
'upper' is filter
'nope' is filter
'odd' is test
1 is defined and 2 is defined
words is not string and words is iterable
not missing is defined
1 if missing is defined else 2
missing is defined or 3
yes is true and zero is not true
strftime_now('%Y-%m-%d')
strftime_now('%d %b %Y')
strftime_now('%A, %B %d, %Y %H:%M:%S %p %I %j %y %a %%')
strftime_now('%U %W %V %G %u %w %e %D %F %T %R %n%t|')
strftime_now('%-d %-m')
strftime_now('%c|%x|%X|%f|%Z|%z|')
strftime_now(5)
raise_exception('no ' ~ 1)
raise_exception()
loop
loop is defined
caller is defined
messages | length > 1
messages[0]['role'] == 'system'
messages[-1].content[0].text
messages[2].content
messages[2].content is none
messages[2].content is string
messages[1].tool_calls
messages[1].tool_calls is defined
messages[2].tool_calls[0].function.arguments.port
messages[2].tool_calls[0]['function']['arguments'].items() | list
messages[4].content.split('</think>')[-1].lstrip('\n')
messages[4].content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n')
messages[1:] | length
messages[::-1][0].role
tools[0].function.parameters.properties.keys() | list
tools[0].function.parameters.properties.units['items'].type
tools[0].function.parameters.properties.units.items() | list
tools[0].function.parameters.properties.deep.type | join(' or ')
tools[0]['function']['description']
(tools | first).type
enable_thinking
enable_thinking is defined and enable_thinking is false
documents is none
documents
add_generation_prompt
bos_token ~ eos_token
unk_token is defined
{'a': {'b': 1}}['a']['b']
{'a': 1}.a
{'a': {'b': {}}}
{'items': 5}['items']
{'get': 5}.get('get')
{'x': 1,}.x
[1,].0
[[1, 2], [3]][0][1]
(1 + 2) * 3
((1))
-1 | abs
(-1) | abs
-'a'
+5
+'a'
- missing
1 - -1
1--1
2 * -3
'a' 'b' | upper
'a' ~ 'b' | upper
('a' ~ 'b') | upper
1 + 2 | string
[3, 1] | sort | first
1 == 1 and 'y' or 'n'
words | length - 1
words | length > 3 and true
'x' if words else 'y'
'x' if not empty else 'y'
none or missing
missing and 1
missing or 'z'
missing ~ 'z'
missing + 'z'
missing * 2
'z' + missing
1 + missing
missing < 1
missing % 2
'%s' % missing
-missing
nested.a.b | map(attribute='c') | list
10 ** 18
10 ** 19
9223372036854775807 + 1
9223372036854775807
-9223372036854775807 - 1
words[missing]
words['0']
words[1.0]
words[true]
nested[words]
{[1]: 2}
{(1, 2): 3}[1, 2]
{1: 'a'}[1.0]
lipsum is callable
dict(**{'a': 1})
dict(*[[('a', 1)]])
'{}{}'.format(*['a', 'b'])
'{a}'.format(**{'a': 'x'})
nested.get(key='a')
nested.get('a', default=1)
words | join(d='-', attribute=none)
words | join(x='-')
words | join('-', d='+')
words | join('a', 'b', 'c')
'abc'.upper(1)
'abc'.replace(old='a', new='b')
""".strip("\n").split("\n")

STATEMENTS = [
    "{% for a in [1, 2, 3] %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }};{% endfor %}",
    "{% for a in 'abc' %}{{ loop.previtem }}{{ a }}{{ loop.nextitem }};{{ loop.previtem is defined }}{{ loop.nextitem is defined }}|{% endfor %}",
    "{% for a in [1, 1, 2] %}{{ loop.changed(a) }}{{ loop.cycle('x', 'y') }}{{ loop.depth }}{{ loop.depth0 }}{% endfor %}",
    "{% for a in [1, 1, 2] %}{{ loop.changed(a, loop.first) }}{{ loop.changed() }}{% endfor %}",
    "{% for a in [1, 2] %}{{ loop.cycle() }}{% endfor %}",
    "{% for a in [1, 2] %}{{ loop }}{{ loop.nope }}{{ loop.nope is defined }}{% endfor %}",
    "{% for a in [1, 2] %}{{ loop | length }}{{ loop is iterable }}{{ loop is callable }}{% endfor %}",
    "{% for k, v in nested.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for (k, v) in nested | dictsort %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in nested %}{{ k }}{% endfor %}",
    "{% for k in nested %}{{ k }};{% endfor %}",
    "{% for a, (b, c) in [[1, [2, 3]], [4, 'xy']] %}{{ a }}{{ b }}{{ c }};{% endfor %}",
    "{% for a, b in [[1, 2, 3]] %}{{ a }}{% endfor %}",
    "{% for a, b in [1] %}{{ a }}{% endfor %}",
    "{% for a, b in ['xy', 'zw'] %}{{ b }}{{ a }}{% endfor %}",
    "{% for a in [1, 2, 3, 4] if a is even %}{{ a }}{{ loop.index }}{{ loop.last }}{{ loop.length }};{% endfor %}",
    "{% for a in [1, 2, 3, 4] if a > 9 %}{{ a }}{% else %}none{% endfor %}",
    "{% for m in messages if m.role == 'user' %}{{ loop.index }}{{ m.role }};{% else %}none{% endfor %}",
    "{% for m in messages if m.content is string and m.role != 'system' %}{{ m.content | length }};{% endfor %}",
    "{% set ns = namespace(n=0) %}{% for a in [1, 2, 3, 4] if ns.n < 2 %}{% set ns.n = ns.n + 1 %}{{ a }}{% endfor %}",
    "{% set ns = namespace(n=0) %}{% for a in [1, 2, 3, 4] if ns.n < 2 %}{% set ns.n = ns.n + 1 %}{{ a }}{{ loop.last }}{% endfor %}",
    "{% for a in [] %}{{ a }}{% else %}{% set x = 1 %}empty{{ x }}{% endfor %}{{ x is defined }}",
    "{% for a in missing %}{{ a }}{% else %}nothing{% endfor %}",
    "{% for a in none %}{{ a }}{% endfor %}",
    "{% for a in 5 %}{{ a }}{% endfor %}",
    "{% for a in 1, 2 %}{{ a }}{% endfor %}",
    "{% for a in (1, 2) + (3,) %}{{ a }}{% endfor %}",
    "{% for a in words | map('upper') %}{{ loop.length }}{{ a }}{% endfor %}",
    "{% for a in range(3) %}{% for b in range(a) %}{{ a }}{{ b }}{{ loop.index }}{% else %}-{% endfor %}{{ loop.index }};{% endfor %}",
    "{% for a in [1, 2, 3, 4] %}{% if a == 2 %}{% continue %}{% endif %}{% if a == 4 %}{% break %}{% endif %}{{ a }}{% endfor %}",
    "{% for a in [1, 2] %}{% for b in [1, 2, 3] %}{% if b == 2 %}{% break %}{% endif %}{{ a }}{{ b }};{% endfor %}{% endfor %}",
    "{% for a in [1, 2] %}{% break %}{% else %}x{% endfor %}",
    "{% for a in [1] %}{% continue %}{% else %}x{% endfor %}",
    "{% for a in [{'n': 1, 'c': [{'n': 2, 'c': [{'n': 3}]}, {'n': 4}]}] recursive %}{{ a.n }}@{{ loop.depth }}[{{ loop(a.c) if a.c else '' }}]{% endfor %}",
    "{% for a in [[1, []], [2, [[3, []]]]] recursive %}{{ a[0] }}{% if a[1] %}({{ loop(a[1]) }}){% endif %}{{ loop.index }}{% endfor %}",
    "{% for a in [1] %}{{ loop([2]) }}{% endfor %}",
    "{% for loop in [1] %}{{ loop }}{% endfor %}",
    "{% set x = 1 %}{% for a in [1, 2] %}{% set x = x + 1 %}{{ x }}{% endfor %}{{ x }}",
    "{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}",
    "{% if false %}{% set x = 2 %}{% endif %}{{ x is defined }}{{ x }}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}",
    "{% set a, b = [1, 2, 3] %}{{ a }}",
    "{% set (a, b) = 'xy' %}{{ a }}{{ b }}",
    "{% set a = 1, 2 %}{{ a }}",
    "{% set x %}a{{ 1 + 1 }}b{% endset %}[{{ x }}]",
    "{% set x | upper %}ab{% endset %}[{{ x }}]",
    "{% set x | replace('a', 'b') | length %}aab{% endset %}[{{ x + 1 }}]",
    "{% set x %}{% set y = 5 %}{{ y }}{% endset %}{{ x }}{{ y is defined }}",
    "{% set x %}  \n a \n {% endset %}[{{ x }}]",
    "{% set ns = namespace(a=1) %}{% set ns.b = 2 %}{% for i in [1, 2] %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}{{ ns.b }}{{ ns }}",
    "{% set ns = namespace() %}{% set ns.x %}block{% endset %}{{ ns.x }}",
    "{% set ns.a = 1 %}",
    "{% set nested.q = 1 %}",
    "{% set ns = namespace(a=[]) %}{% for i in range(3) %}{% set ns.a = ns.a + [i] %}{% endfor %}{{ ns.a }}",
    "{% set ns = namespace(a='') %}{% for m in messages %}{% set ns.a = ns.a ~ m.role[0] %}{% endfor %}{{ ns.a }}",
    "{% macro f(a, b=2, c='x') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ f(1) }}|{{ f(1, 3) }}|{{ f(1, c='z') }}|{{ f(b=5, a=4) }}|{{ f() }}",
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, 2) }}",
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, b=2) }}",
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(1, a=2) }}",
    "{% macro f(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ f(1, 2, 3, x=4) }}",
    "{% macro f(a, b=a ~ '!') %}{{ b }}{% endmacro %}{{ f('x') }}{{ f('x', 'y') }}",
    "{% macro f(x) %}{% if x > 0 %}{{ x }}{{ f(x - 1) }}{% endif %}{% endmacro %}{{ f(5) }}",
    "{% set g = 'outer' %}{% macro f() %}{{ g }}{% set g = 'inner' %}{{ g }}{% endmacro %}{{ f() }}{{ g }}",
    "{% macro f() %}{{ late }}{% endmacro %}{% set late = 'set later' %}{{ f() }}",
    "{% macro f() %}{{ a is defined }}{% endmacro %}{% for a in [1] %}{{ f() }}{% endfor %}",
    "{% macro f(m) %}\n  <{{ m }}>\n{% endmacro %}{{ f('a') }}{{ f('b') | trim }}",
    "{% macro f(x) %}{{ caller() if caller else 'no caller' }}{{ x }}{% endmacro %}{{ f(1) }}{% call f(2) %}body{% endcall %}",
    "{% macro f() %}{% for i in [1, 2] %}{{ caller(i, i * 2) }};{% endfor %}{% endmacro %}{% call(a, b) f() %}{{ a }}-{{ b }}{% endcall %}",
    "{% macro f() %}{{ caller(1) }}{% endmacro %}{% call(a, b='d') f() %}{{ a }}{{ b }}{% endcall %}",
    "{% macro f() %}x{% endmacro %}{% call f() %}body{% endcall %}",
    "{% macro f() %}{{ caller }}{% endmacro %}{{ f() }}",
    "{% macro f() %}{{ caller() }}{% endmacro %}{{ f() }}",
    "{% macro f(a) %}{% endmacro %}{{ f.name }}{{ f is callable }}{{ f is defined }}",
    "{% macro f(a) %}[{{ a }}]{% endmacro %}{{ ['x', 'y'] | map('upper') | join(f('-')) }}",
    "{% macro show(v, depth=0) %}{% if v is mapping %}{% for k, x in v.items() %}{{ '  ' * depth }}{{ k }}:\n{{ show(x, depth + 1) }}{% endfor %}{% elif v is iterable and v is not string %}{% for x in v %}{{ show(x, depth + 1) }}{% endfor %}{% else %}{{ '  ' * depth }}{{ v }}\n{% endif %}{% endmacro %}{{ show(nested) }}",
    "{% if true %}{% macro f() %}in if{% endmacro %}{% endif %}{{ f() }}",
    "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}b{% endmacro %}{{ a() }}",
    "{% set ns = namespace(f=none) %}{% macro g() %}g{% endmacro %}{% set ns.f = g %}{{ ns.f() }}",
    "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% set c = 3 %}{{ c }}{% endwith %}{{ a is defined }}{{ c is defined }}",
    "{% set a = 'o' %}{% with a = 'i', b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}",
    "{% with %}{% set x = 1 %}{{ x }}{% endwith %}{{ x is defined }}",
    "{% filter upper %}ab{{ 'cd' }}{% endfilter %}",
    "{% filter replace('a', 'b') | upper %}aab{% endfilter %}",
    "{% filter indent(2) %}a\nb{% endfilter %}",
    "{% filter trim %}\n  x\n{% endfilter %}",
    "{% raw %}{{ no }}{% if %}{# x #}{% endraw %}{{ 1 }}",
    "a\n  {%- raw -%}  x  {%- endraw -%}  \nb",
    "a\n  {% raw %}\n x \n{% endraw %}\nb",
    "{% raw %}  {% endraw +%}\nb",
    "{# comment {{ x }} #}a{#- b -#} c",
    "{% generation %}x{{ 1 }}{% endgeneration %}",
    "{% for m in messages[:1] %}{% generation %}{{ m.content }}{% endgeneration %}{{ loop.index }}{% endfor %}",
    "{% print 1 %}{% print 'a', 2 %}",
    "{% if 0 %}a{% elif 0 %}b{% elif 1 %}c{% else %}d{% endif %}",
    "{% if 0 %}a{% elif 0 %}b{% else %}d{% endif %}",
    "{% if missing %}a{% endif %}{% if empty %}b{% endif %}{% if void %}c{% endif %}{% if 0.0 %}d{% endif %}{% if ' ' %}e{% endif %}",
    "{% if words and nested and not empty %}y{% endif %}",
    "{% if missing.x %}a{% endif %}",
    "{% if missing is defined and missing.x %}a{% else %}b{% endif %}",
    "{% if 1, 0 %}tuple{% endif %}",
    "{%- if true -%}  a  {%- endif -%}  b",
    "a {%+ if true +%} b {%+ endif +%} c",
    "  {% if true %}\n  a\n  {% endif %}\n  b",
    "  {%- if true %}\n  a\n  {%- endif %}\n  b",
    "a\n    {{ 1 }}\n  {{- 2 -}}\n b",
    "{{ '{{' }}{{ '}}' }}{{ '%}' }}{{ \"{%\" }}",
    "{{ {'a': {'b': 1}}['a']['b'] }}{{ {'a': {}} }}",
    "{{ {'a': 1}.a -}}  x",
    "{{- ' a' }} {{ 'b ' -}} c",
    "a\r\nb\rc\n",
    "x\n",
    "x\n\n",
    "{% set it = words | map('upper') %}{{ it | first }}{{ it | join(',') }}{{ it | join(',') }}",
    "{% set it = words | select('string') %}{{ 'fig' in it }}{{ it | list }}",
    "{% set it = nested.items() %}{{ it | list | length }}{{ it | list | length }}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.next() }}{{ c.reset() }}{{ c.current }}",
    "{% set j = joiner(', ') %}{% for w in words %}{{ j() }}{{ w }}{% endfor %}",
    "{% for t, group in people[:3] | groupby('age') %}{{ t }}:{% for p in group %}{{ p.name }} {% endfor %};{% endfor %}",
    "{% for g in people[:3] | groupby('at.town') %}{{ g.grouper }}:{{ g.list | length }};{% endfor %}",
    "{% for g in people | groupby('age') %}{{ g.grouper }}{% endfor %}",
    "{% set content = messages[4].content %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}[{{ content }}]",
    "{%- for m in messages %}{%- if m.content is string %}{{ m.role }}:{{ m.content }}{%- elif m.content is iterable and m.content is not none %}{%- for part in m.content %}{%- if part.type == 'text' %}{{ part.text }}{%- else %}<{{ part['type'] }}>{%- endif %}{%- endfor %}{%- endif %}\n{% endfor %}",
    "{%- for call in messages[2].tool_calls %}{%- set f = call.function %}{{ {'name': f.name, 'arguments': f.arguments} | tojson }}{%- endfor %}",
    "{% for key, value in messages[2].tool_calls[0].function.arguments.items() %}{{ key }}={{ value | tojson if value is not string else value }}{{ ', ' if not loop.last }}{% endfor %}",
    "{% set x = 'a' if false %}{{ x is defined }}[{{ x }}]",
    "{% set last = messages | length - 1 %}{% for m in messages %}{{ 'L' if loop.index0 == last }}{% endfor %}",
    "{% set messages = messages[1:] %}{{ messages | length }}",
    "{% set bos_token = 'x' %}{{ bos_token }}",
    "{% for m in messages %}{% set messages = [] %}{{ messages | length }}{% endfor %}{{ messages | length }}",
    "{% set range = 5 %}{{ range }}",
    "{% block a %}x{% endblock %}",
    "{% include 'x' %}",
    "{% import 'x' as y %}",
    "{% extends 'x' %}",
    "{% autoescape true %}{{ '<' }}{% endautoescape %}",
    "{% do 1 %}",
    "{% unknown %}",
    "{% if true %}{% endfor %}",
    "{% endif %}",
    "{% for %}{% endfor %}",
    "{% break %}",
    "{% macro f() %}{% break %}{% endmacro %}",
    "{% if true %}",
    "{{ 1 + }}",
    "{{ 'a }}",
    "{{ a b }}",
    "{{ (1 }}",
    "{{ [1 }}",
    "{{ {1} }}",
    "{% set 1 = 2 %}",
    "{% set x %}",
    "{# x",
    "{% raw %}x",
    "{{ x | }}",
    "{{ x is }}",
    "{{ f(a=1, 2) }}",
    "{{ 1.5.5 }}",
    "{{ 1..2 }}",
    "{% if false %}{{ 1 | nope }}{{ 1 is nope }}{{ nope() }}{% endif %}ok",
    "{% if tools is mapping %}{% call(x) printer() %}{{ x.__unheard_of(1) }}{% endcall %}{% filter indent(4) %}never{% endfilter %}{% endif %}ok",
]


def written(snippet):
    return "{{ '|' }}{{ " + snippet.replace("\\\n", "\\\n") + " }}{{ '|' }}"


def expressions():
    """A line that ends in a backslash goes on."""
    whole = ""
    for line in EXPRESSIONS:
        whole += line
        if line.endswith("\\"):
            whole += "\n"
            continue
        yield written(whole)
        whole = ""


SNIPPETS = list(expressions()) + STATEMENTS

# Longer ones, in the manner of families of models but in words of our own.
FAMILIES = {
    "headers": """{{- bos_token }}
{%- if custom_tools is defined %}
    {%- set tools = custom_tools %}
{%- endif %}
{%- if not tools_in_user_message is defined %}
    {%- set tools_in_user_message = true %}
{%- endif %}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "1 Jan 2026" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- if messages and messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start|>system<|end|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: shell\\n" }}
{%- endif %}
{{- "Date: " + date_string + "\\n\\n" }}
{%- if tools is not none and not tools_in_user_message %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot|>" }}
{%- if tools_in_user_message and not tools is none %}
    {%- if messages | length != 0 %}
        {%- set first_user_message = messages[0]['content'] %}
        {%- set messages = messages[1:] %}
    {%- else %}
        {{- raise_exception("Nothing to put the tools into") }}
    {%- endif %}
    {{- '<|start|>user<|end|>\\n\\nAnswer with a call of one of these:\\n\\n' -}}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
    {{- first_user_message if first_user_message is string else '' + "<|eot|>" }}
{%- endif %}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start|>' + message['role'] + '<|end|>\\n\\n' }}
        {%- if message.content is string %}{{- message['content'] | trim + '<|eot|>' }}{%- else %}
        {%- for part in message.content %}{{- part.text | default('<' ~ part.type ~ '>') }}{%- endfor %}{{- '<|eot|>' }}{%- endif %}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls|length == 1 %}
            {{- raise_exception("One call at a time") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start|>assistant<|end|>\\n\\n' -}}
        {{- '{"name": "' + tool_call.name + '", "parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}<|eot|>" }}
    {%- else %}
        {{- "<|start|>ipython<|end|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable and message.content is not string %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start|>assistant<|end|>\\n\\n' }}
{%- endif %}
""",
    "thinking": """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages and messages[0].role == 'system' %}
        {{- messages[0].content + '\\n\\n' }}
    {%- endif %}
    {{- "# Tools\\n\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- else %}
    {%- if messages and messages[0].role == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.content is string %}
        {%- set content = message.content %}
    {%- else %}
        {%- set content = '' %}
    {%- endif %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if message.reasoning_content is string %}
            {%- set reasoning_content = message.reasoning_content %}
        {%- else %}
            {%- if '</think>' in content %}
                {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
            {%- endif %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index %}
            {%- if loop.last or (not loop.last and reasoning_content) %}
                {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
            {%- else %}
                {{- '<|im_start|>' + message.role + '\\n' + content }}
            {%- endif %}
        {%- else %}
            {{- '<|im_start|>' + message.role + '\\n' + content }}
        {%- endif %}
        {%- if message.tool_calls %}
            {%- for tool_call in message.tool_calls %}
                {%- if (loop.first and content) or (not loop.first) %}
                    {{- '\\n' }}
                {%- endif %}
                {%- if tool_call.function %}
                    {%- set tool_call = tool_call.function %}
                {%- endif %}
                {{- '<tool_call>\\n{"name": "' }}
                {{- tool_call.name }}
                {{- '", "arguments": ' }}
                {%- if tool_call.arguments is string %}
                    {{- tool_call.arguments }}
                {%- else %}
                    {{- tool_call.arguments | tojson }}
                {%- endif %}
                {{- '}\\n</tool_call>' }}
            {%- endfor %}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
""",
    "types": """{#- Parameters of tools as declarations of types. -#}
{%- macro kind(spec) -%}
    {%- if spec.type is string and spec.type == 'array' -%}
        {%- if spec['items'] %}{{ kind(spec['items']) }}[]{% else %}any[]{% endif -%}
    {%- elif spec.type is iterable and spec.type is not string -%}
        {{ spec.type | join(' | ') }}
    {%- elif spec.enum is defined -%}
        "{{ spec.enum | join('" | "') }}"
    {%- elif spec.type in ('integer', 'number') -%}
        number
    {%- else -%}
        {{ spec.type | default('any') }}
    {%- endif -%}
{%- endmacro -%}
{%- macro declare(space, tools) -%}
    {{- 'namespace ' ~ space ~ ' {\\n' -}}
    {%- for tool in tools -%}
        {%- set tool = tool.function -%}
        {%- if tool.description %}// {{ tool.description | replace('\\n', '\\n// ') }}{{ '\\n' }}{% endif -%}
        {{- 'type ' + tool.name + ' = ' -}}
        {%- if tool.parameters and tool.parameters.properties -%}
            {{- '(_: {\\n' -}}
            {%- for name, spec in tool.parameters.properties.items() -%}
                {{- '  ' ~ name ~ ('' if name in (tool.parameters.required or []) else '?') ~ ': ' ~ kind(spec) -}}
                {%- if spec.default is defined %} // default: {{ spec.default | tojson }}{% endif -%}
                {{- ',\\n' if not loop.last else '\\n' -}}
            {%- endfor -%}
            {{- '}) => any;\\n' -}}
        {%- else -%}
            {{- '() => any;\\n' -}}
        {%- endif -%}
    {%- endfor -%}
    {{- '}' -}}
{%- endmacro -%}
{%- set model_identity = model_identity | default('You are a model.') -%}
{%- set effort = reasoning_effort | default('medium', true) -%}
<|start|>system<|message|>{{ model_identity }}
Date: {{ strftime_now('%Y-%m-%d') }}

Effort: {{ effort }}<|end|>
{%- if tools %}<|start|>developer<|message|>{{ declare('functions', tools) }}<|end|>{% endif -%}
{%- set last = namespace(name=none) -%}
{%- for m in messages -%}
    {%- if m.role == 'assistant' and m.tool_calls is defined -%}
        {%- set call = m.tool_calls[0].function -%}
        {%- set last.name = call.name -%}
        <|start|>assistant to=functions.{{ call.name }}<|message|>{{ call.arguments | tojson }}<|call|>
    {%- elif m.role == 'tool' -%}
        {%- if last.name is none %}{{ raise_exception('An answer without a call') }}{% endif -%}
        <|start|>functions.{{ last.name }} to=assistant<|message|>{{ m.content | tojson }}<|end|>
    {%- elif m.content is string -%}
        <|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>
    {%- else -%}
        <|start|>{{ m.role }}<|message|>{% for p in m.content if p.type == 'text' %}{{ p.text }}{% endfor %}<|end|>
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}<|start|>assistant{%- endif -%}
""",
    "instruct": """{%- if messages and messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set user_messages = loop_messages | selectattr("role", "equalto", "user") | list %}
{%- set ns = namespace(index=0) %}
{%- for message in loop_messages %}
    {%- if not (message.role == "tool" or (message.tool_calls is defined and message.tool_calls is not none)) %}
        {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
            {{- raise_exception("Roles must take turns: " ~ message["role"]) }}
        {%- endif %}
        {%- set ns.index = ns.index + 1 %}
    {%- endif %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if tools is not none and (message == user_messages[-1]) %}
            {{- "[TOOLS] [" }}
            {%- for tool in tools %}
                {%- set tool = tool.function %}
                {{- '{"type": "function", "function": {' }}
                {%- for key, val in tool.items() if key != "return" %}
                    {%- if val is string %}
                        {{- '"' + key + '": "' + val + '"' }}
                    {%- else %}
                        {{- '"' + key + '": ' + val|tojson }}
                    {%- endif %}
                    {%- if not loop.last %}
                        {{- ", " }}
                    {%- endif %}
                {%- endfor %}
                {{- "}}" }}
                {%- if not loop.last %}
                    {{- ", " }}
                {%- else %}
                    {{- "]" }}
                {%- endif %}
            {%- endfor %}
            {{- "[/TOOLS]" }}
        {%- endif %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + (message["content"] if message["content"] is string else message["content"] | map(attribute="text", default="") | join) + "[/INST]" }}
        {%- endif %}
    {%- elif message.tool_calls is defined and message.tool_calls is not none %}
        {{- "[CALLS] [" }}
        {%- for tool_call in message.tool_calls %}
            {%- set out = tool_call.function|tojson %}
            {{- out[:-1] }}
            {%- if not tool_call.id is defined or tool_call.id|length < 4 %}
                {{- raise_exception("Ids have at least 4 letters") }}
            {%- endif %}
            {{- ', "id": "' + tool_call.id + '"}' }}
            {{- ", " if not loop.last else "]" + eos_token }}
        {%- endfor %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"]|trim + eos_token}}
    {%- elif message["role"] in ["tool_results", "tool"] %}
        {%- if message.content is defined and message.content.content is defined %}
            {%- set content = message.content.content %}
        {%- else %}
            {%- set content = message.content %}
        {%- endif %}
        {{- '[RESULTS] {"content": ' + content|string + ", " }}
        {{- '"id": "' + (message.tool_call_id | default('none')) + '"}[/RESULTS]' }}
    {%- else %}
        {{- raise_exception("What is " ~ message.role ~ "?") }}
    {%- endif %}
{%- endfor %}
""",
    "turns": """{{ bos_token }}
{%- if messages and messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '\\n\\n' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\\n\\n' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<turn>' + role + '\\n' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}
                {{ '<image>' }}
            {%- elif item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("No such content") if not message.tool_calls else '' }}
    {%- endif -%}
    {{ '<end>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{ '<turn>model\\n' }}
{%- endif -%}
""",
    "calls": """{%- if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}
{%- set ns = namespace(is_first=false, is_tool=false, is_output_first=true, system_prompt='', is_first_sp=true) %}
{%- for message in messages %}
    {%- if message['role'] == 'system' %}
        {%- if ns.is_first_sp %}
            {%- set ns.system_prompt = ns.system_prompt + message['content'] %}
            {%- set ns.is_first_sp = false %}
        {%- else %}
            {%- set ns.system_prompt = ns.system_prompt + '\\n\\n' + message['content'] %}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{{ bos_token }}{{ ns.system_prompt }}
{%- for message in messages %}
    {%- if message['role'] == 'user' %}
        {%- set ns.is_tool = false -%}
        {{ '<|User|>' + (message['content'] if message['content'] is string else message['content'][0].text) }}
    {%- endif %}
    {%- if message['role'] == 'assistant' and 'tool_calls' in message %}
        {%- set ns.is_tool = false -%}
        {%- for tool in message['tool_calls'] %}
            {%- if not ns.is_first %}
                {%- if message['content'] is none %}
                    {{ '<|Assistant|><calls>' + tool['type'] + '<sep>' + tool['function']['name'] + '\\n' + '```json' + '\\n' + tool['function']['arguments']|tojson + '\\n' + '```' }}
                {%- else %}
                    {{ '<|Assistant|>' + message['content'] + '<calls>' + tool['function']['name'] }}
                {%- endif %}
                {%- set ns.is_first = true -%}
            {%- else %}
                {{ '\\n' + tool['function']['name'] }}
            {%- endif %}
        {%- endfor %}
        {{ '</calls>' + eos_token }}
    {%- endif %}
    {%- if message['role'] == 'assistant' and 'tool_calls' not in message %}
        {%- if ns.is_tool %}
            {{ '</outputs>' + message['content'] + eos_token }}
            {%- set ns.is_tool = false -%}
        {%- else %}
            {%- set content = message['content'] %}
            {%- if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}
            {{ '<|Assistant|>' + content + eos_token }}
        {%- endif %}
    {%- endif %}
    {%- if message['role'] == 'tool' %}
        {%- set ns.is_tool = true -%}
        {%- if ns.is_output_first %}
            {{ '<outputs><out>' + message['content'] + '</out>' }}
            {%- set ns.is_output_first = false %}
        {%- else %}
            {{ '\\n<out>' + message['content'] + '</out>' }}
        {%- endif %}
    {%- endif %}
{%- endfor -%}
{%- if ns.is_tool %}{{ '</outputs>' }}{% endif %}
{%- if add_generation_prompt and not ns.is_tool %}{{ '<|Assistant|><think>\\n' }}{% endif %}
""",
    "commands": """{# A template in the manner of models that were trained with marks around what they say. #}
{%- set enable_thinking = enable_thinking if enable_thinking is defined else true -%}
{%- set reasoning_mode = "/think" if enable_thinking else "/no_think" -%}
{{- "<|im_start|>system\\n" -}}
{%- if messages and messages[0].role == "system" -%}
    {%- set system_message = messages[0].content -%}
    {%- if "/no_think" in system_message -%}{%- set reasoning_mode = "/no_think" -%}{%- endif -%}
    {%- set custom = system_message.replace("/no_think", "").replace("/think", "").rstrip() -%}
{%- endif -%}
{{- "Date: " ~ strftime_now("%d %B %Y") ~ "\\nMode: " ~ reasoning_mode ~ "\\n\\n" -}}
{%- if custom -%}{{ custom + "\\n\\n" }}{%- else -%}
    {%- if reasoning_mode == "/think" -%}Think first.{{ "\\n\\n" }}{%- else -%}Answer at once.{{ "\\n\\n" }}{%- endif -%}
{%- endif -%}
{%- if tools -%}
    {%- set block = namespace(text="<tools>\\n") -%}
    {%- for tool in tools -%}{%- set block.text = block.text ~ (tool | string) ~ "\\n" -%}{%- endfor -%}
    {{- block.text + "</tools>\\n\\n" -}}
{%- endif -%}
{{- "<|im_end|>\\n" -}}
{%- for message in messages -%}
    {%- set content = message.content if message.content is string else "" -%}
    {%- if message.role == "user" -%}
        {{ "<|im_start|>user\\n" + content + "<|im_end|>\\n" }}
    {%- elif message.role == "assistant" -%}
        {%- generation -%}
        {%- if reasoning_mode == "/think" -%}
            {{ "<|im_start|>assistant\\n" + content.lstrip("\\n") + "<|im_end|>\\n" }}
        {%- else -%}
            {{ "<|im_start|>assistant\\n<think>\\n\\n</think>\\n" + content.lstrip("\\n") + "<|im_end|>\\n" }}
        {%- endif -%}
        {%- endgeneration -%}
    {%- elif message.role == "tool" -%}
        {{ "<|im_start|>user\\n" + content + "<|im_end|>\\n" }}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {%- if reasoning_mode == "/think" -%}{{ "<|im_start|>assistant\\n" }}{%- else -%}
    {{ "<|im_start|>assistant\\n<think>\\n\\n</think>\\n" }}{%- endif -%}
{%- endif -%}
""",
}
