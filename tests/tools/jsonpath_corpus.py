"""Writes tests/vectors/jsonpath.json: selectors, documents, and what an implementation of RFC 9535 that shares nothing with ours
(PyPI `jsonpath-rfc9535` 1.0.1) selects there. Run it by hand after adding a case; the test reads only what it wrote.

    python3 -m venv venv && venv/bin/pip install jsonpath-rfc9535==1.0.1
    venv/bin/python tests/tools/jsonpath_corpus.py > tests/vectors/jsonpath.json
"""

import json
import sys

import jsonpath_rfc9535 as jsonpath

STORE = {
    "store": {
        "book": [
            {"category": "reference", "author": "Nigel Rees", "title": "Sayings of the Century", "price": 8.95},
            {"category": "fiction", "author": "Evelyn Waugh", "title": "Sword of Honour", "price": 12.99},
            {"category": "fiction", "author": "Herman Melville", "title": "Moby Dick", "isbn": "0-553-21311-3", "price": 8.99},
            {"category": "fiction", "author": "J. R. R. Tolkien", "title": "The Lord of the Rings", "isbn": "0-395-19395-8", "price": 22.99},
        ],
        "bicycle": {"color": "red", "price": 399},
    }
}
LETTERS = ["a", "b", "c", "d", "e", "f", "g"]
NESTED = {"o": {"j": 1, "k": 2, "o": {"j": [5, {"k": 6}], "": {"j": 7}}}, "a": [5, 3, [{"j": 4}, {"k": 6}]], "j": None}
NAMES = {"": 0, "a": 1, "ab": 2, "a.b": 3, "a b": 4, "'": 5, '"': 6, "\\": 7, "/": 8, "\u2028": 9, "\U0001f600": 10, "é": 11, "e\u0301": 12, "$": 13, "@": 14, "0": 15, "-1": 16, "*": 17, "length": 18, "a\nb": 19, "\u0000": 20, "_": 21, "ключ": 22}
MIXED = [
    {"k": "a", "n": 1, "b": True, "l": []},
    {"k": "b", "n": 2.0, "b": False, "l": [1]},
    {"k": "c", "n": -1, "b": None, "l": [1, 2, {"d": 1}]},
    {"k": "", "n": 1e2, "o": {"x": 1}},
    {"k": "aé😀", "n": "1", "o": {"x": {"y": 2}}},
    {"k": ["a"], "n": [1], "o": {}},
    {"k": {"a": 1}, "n": None},
    {},
    [],
    ["a", 1],
    "a",
    1,
    True,
    None,
]
TEXTS = ["1974-05-11", "b", "ab", "bab", "a\nb", "a\rb", "\u2028", "", "😀", "a😀c", "aéc", "$", "^a", "a.c", "A", "ß", "1", 1, None]

CASES = {
    "store": (STORE, [
        "$", "$.store", "$.store.book[*].author", "$..author", "$.store.*", "$.store..price", "$..book[2]", "$..book[2].author",
        "$..book[2].publisher", "$..book[-1]", "$..book[0,1]", "$..book[:2]", "$..book[?@.isbn]", "$..book[?@.price<10]", "$..*",
        "$..book[?@.price > 8.95 && @.price < 20]", "$..book[?@.category=='fiction' || @.price==8.95].title", "$..book[?!@.isbn].price",
        "$.store.book[?match(@.author, '.*Melville')]", "$.store.book[?search(@.title, 'of')].title", "$..[?@.color=='red']",
        "$..book[?length(@.title) > 10].title", "$.store[?count(@.*) == 2]", "$..book[?@.price == $.store.book[0].price]",
        "$.store.book[?@.price >= value($..bicycle.price)]", "$.store.book[?value(@..isbn) == '0-553-21311-3'].title",
        "$..['price']", "$..['author','title']", "$.store['book']['bicycle']", "$.store['bicycle','book'].color", "$..price.x", "$.book",
        "$..book[1:3]['title']", "$..book[::-1].price", "$..book[::2].price", "$..book[3:0:-1].price", "$..book[-2:].isbn",
    ]),
    "letters": (LETTERS, [
        "$[0]", "$[6]", "$[7]", "$[-1]", "$[-7]", "$[-8]", "$[1:3]", "$[5:]", "$[1:5:2]", "$[5:1:-2]", "$[::-1]", "$[:]", "$[::]", "$[::1]",
        "$[::2]", "$[::3]", "$[::-2]", "$[::-3]", "$[:2]", "$[:-2]", "$[-2:]", "$[-2::-1]", "$[:-5:-1]", "$[10:]", "$[:10]", "$[-10:]",
        "$[:-10]", "$[10::-1]", "$[0:0]", "$[3:3]", "$[4:2]", "$[2:4:-1]", "$[1:7:3]", "$[6:0:-3]", "$[0:7:0]", "$[::0]", "$[0:1,3:5]",
        "$[0,0]", "$[-1,6]", "$[3,1,2]", "$[*]", "$[*,0]", "$[0:9007199254740991]", "$[-9007199254740991:]", "$[::9007199254740991]",
        "$[ 0 ]", "$[ 1 : 3 : 1 ]", "$[0 , 2]", "$.a", "$['a']", "$.*", "$..[0]", "$[?@=='c']", "$[?@>'c']", "$[?@<='b']", "$[?@!='a']",
        "$[?@ < 3]", "$[?length(@) == 1]", "$[?match(@, '[a-c]')]", "$[?search(@, '[f-z]')]", "$[?@ == $[2]]", "$[?@==$[-1]]", "$[0][0]", "$.length",
    ]),
    "nested": (NESTED, [
        "$.o.j", "$.o['j', 'k']", "$.o[*]", "$.o[*, *]", "$.a[*]", "$..j", "$..[0]", "$..[*]", "$..*", "$..o", "$.o..[*, *]", "$.a..[0, 1]", "$..['j','k']",
        "$..[?@.j]", "$..[?@.k > 1]", "$.o.o[''].j", "$..['']", "$.a[2][0].j", "$.a[-1][-1].k", "$..j[0]", "$..o.j", "$..o..j", "$..*.j", "$.*.*", "$.*..j",
        "$.j", "$.j.x", "$.j[0]", "$[?@ == null]", "$[?@.j == 1]", "$.o[?@ == 1]", "$.o[?@ != 1]", "$..[?@[0] == 5]", "$..[?count(@.*) > 2]", "$..[-1]", "$..[::-1]", "$..[1:]",
        "$.a[?@ > 3]", "$.a[?@ >= 3, 0]", "$.a[0, ?@ == 3]", "$..[?@.o.j]", "$..[?@['o']['k']]",
    ]),
    "names": (NAMES, [
        "$['']", "$.a", "$['a.b']", "$['a b']", "$['\\'']", "$[\"'\"]", "$['\"']", "$[\"\\\"\"]", "$['\\\\']", "$['/']", "$['\\/']", "$['\\u2028']", "$['\\ud83d\\ude00']",
        "$['\\uD83D\\uDE00']", "$.😀", "$['😀']", "$.é", "$['\\u00e9']", "$['e\\u0301']", "$['$']", "$['@']", "$['0']", "$['-1']", "$['*']", "$.length", "$['a\\nb']",
        "$['\\u0000']", "$._", "$.ключ", "$['a','ab']", "$['a', 'missing', '']", "$.missing", "$[0]", "$[-1]", "$[:]", "$.*", "$ .a", "$\n.a", "$\t['a']", "$[ 'a' ]", "$[\n\"a\"\r]", "$.ab", "$.A", "$['A']",
        "$..a", "$['\\u0061']", "$[\"\\u0061\\u0062\"]",
    ]),
    "mixed": (MIXED, [
        "$[?@.k]", "$[?!@.k]", "$[?@.k == 'a']", "$[?@.k != 'a']", "$[?@.k < 'b']", "$[?@.k <= 'b']", "$[?@.k > 'a']", "$[?@.k >= 'a']", "$[?'a' == @.k]", "$[?@.k == \"a\"]",
        "$[?@.n == 1]", "$[?@.n == 1.0]", "$[?@.n == 2]", "$[?@.n == 100]", "$[?@.n == 1e2]", "$[?@.n == -1]", "$[?@.n < 1]", "$[?@.n <= 1]", "$[?@.n > 1]", "$[?@.n >= 2e0]", "$[?@.n == '1']", "$[?@.n == null]", "$[?@.n != null]",
        "$[?@.n == -0.0]", "$[?@.n == 1E2]", "$[?@.n == 10e1]", "$[?@.n == 0.1e3]",
        "$[?@.b == true]", "$[?@.b == false]", "$[?@.b == null]", "$[?@.b != true]", "$[?@.b]", "$[?@.b == @.missing]", "$[?@.missing == @.absent]", "$[?@.missing != @.absent]", "$[?@.missing <= @.absent]", "$[?@.missing < @.absent]",
        "$[?@ == 'a']", "$[?@ == 1]", "$[?@ == true]", "$[?@ == null]", "$[?@]", "$[?@.*]", "$[?@[0]]", "$[?@[0] == 'a']", "$[?@.o.x]", "$[?@.o.x == 1]", "$[?@.o.x.y == 2]", "$[?@.o == @.o]", "$[?@.l == @.l]", "$[?@.k == @[0]]",
        "$[?@.k=='a' && @.n==1]", "$[?@.k=='a' || @.n==2]", "$[?@.k=='a' || @.k=='b' && @.n==1]", "$[?(@.k=='a' || @.k=='b') && @.n==1]", "$[?!(@.k=='a')]", "$[?!(@.k=='a' || @.n==2)]", "$[?!@.k && !@.n]", "$[?@.k && !(@.n > 1)]",
        "$[?length(@.k) == 1]", "$[?length(@.k) == 3]", "$[?length(@.l) == 0]", "$[?length(@.l) >= 1]", "$[?length(@.o) == 1]", "$[?length(@) == 4]", "$[?length(@) == 0]", "$[?length(@.n) == 1]", "$[?length(@.missing) == 0]", "$[?length('abc') == 3]", "$[?length(@.k) < length(@.l)]",
        "$[?count(@.*) == 4]", "$[?count(@..*) > 4]", "$[?count(@.l[*]) == 3]", "$[?count(@.missing) == 0]", "$[?count(@['k','n']) == 2]",
        "$[?value(@.k) == 'a']", "$[?value(@.*) == 'a']", "$[?value(@..d) == 1]", "$[?value(@.missing) == value(@.absent)]", "$[?value($..y) == @.o.x.y]",
        "$[?@.l[?@ == 1]]", "$[?@.l[?@.d]]", "$[?@[?@ == 'a']]", "$[?count(@.l[?@ > 0]) == 2]", "$[?@.l[?@ == $[1].l[0]]]", "$[?@['l'][-1].d == 1]", "$[?@.l[0:2]]", "$[?@.l[::2]]", "$[?@..d]",
        "$[?@.k == $[0].k]", "$[?$]", "$[?$.x]", "$[?$[0].b == @.b]", "$[?@.k, 0]", "$[0, ?@.k == 'b', -1]", "$[?@.k == 'a', ?@.n == 2]", "$[?@.n == 1].k", "$[?@.l].l[0]", "$..[?@.d]", "$..[?@.x]", "$[ ? @.k == 'a' ]", "$[?\n@.k\t==\r'a']", "$[?((@.k == 'a'))]", "$[?@.k =='a'&&@.n== 1]",
        "$[?length(value(@.k)) == 1]", "$[?length(@['k']) == 1]", "$[?length(@[0]) == 1]", "$[?@.n == 9007199254740991]",
    ]),
    "texts": (TEXTS, [
        "$[?match(@, '1974-05-..')]", "$[?match(@, 'b')]", "$[?search(@, 'b')]", "$[?match(@, 'a.b')]", "$[?search(@, 'a.b')]", "$[?match(@, '.')]", "$[?match(@, '')]", "$[?search(@, '')]", "$[?match(@, '.*')]", "$[?match(@, 'a.c')]", "$[?match(@, 'a[^x]c')]",
        "$[?match(@, 'a\\\\.c')]", "$[?match(@, '\\\\^a')]", "$[?match(@, '[0-9]{4}-[0-9]{2}-[0-9]{2}')]", "$[?match(@, '\\\\p{Lu}')]", "$[?match(@, '\\\\P{Lu}')]", "$[?match(@, '\\\\p{L}+')]", "$[?match(@, '(a|b)+')]", "$[?match(@, 'a?b')]", "$[?match(@, 'a{0,1}b')]", "$[?match(@, 'x{0}b')]",
        "$[?search(@, '[ab]')]", "$[?search(@, '[^a]')]", "$[?search(@, '[a-]')]", "$[?match(@, $[1])]", "$[?match(@, 1)]", "$[?match('b', @)]", "$[?!match(@, 'b')]", "$[?match(@, 'b') || match(@, 'ab')]",
    ]),
}
# Selectors by RFC 9535, but refused when loading: patterns that are none of RFC 9485 (they would never match), and numbers that would
# be rounded.
REFUSED = [
    "$[?match(@, '[')]", "$[?match(@, 'a{2,1}')]", "$[?search(@, '\\\\d')]", "$[?match(@, '\\\\$')]", "$[?match(@, '\\\\p{Greek}')]", "$[?search(@, '(?i)a')]", "$[?@.n < 9007199254740993]", "$[?@.n == 123456789012345678901]", "$[?@.n == 1e999]",
]
INVALID = [
    "", " ", "$ ", " $", "a", ".a", "@", "@.a", "$.", "$..", "$...a", "$.a.", "$a", "$.1a", "$.-a", "$.a-b", "$.a b", "$.'a'", "$.\"a\"", "$.[0]", "$..[", "$[", "$]", "$[]", "$[,]", "$[0,]", "$[,0]", "$['a',]", "$[0 1]", "$['a' 'b']", "$[a]", "$['a]", "$[\"a]", "$['a\"]", "$[00]", "$[01]", "$[-0]", "$[-01]", "$[+1]", "$[1.0]", "$[1e1]", "$[0x1]",
    "$[9007199254740992]", "$[-9007199254740992]", "$[0:9007199254740992]", "$[::9007199254740992]", "$[1:2:3:4]", "$[01:2]", "$[:01]", "$[::-0]", "$[-0:]", "$[a:b]", "$[1 :a]", "$[0:1:2.0]",
    "$['\\x']", "$['\\'", "$['\\u12']", "$['\\ud800']", "$['\\ud800\\u0061']", "$['\\udc00']", "$[\"\\'\"]", "$['\\\"']", "$['a\nb']", "$['a\tb']", "$['\u0000']", "$['\\u{61}']", "$['\\U0061']", "$[\"\\0\"]",
    "$.*a", "$*", "$.a*", "$..*a", "$ ..", "$. a", "$.. a", "$.\na", "$.a[", "$.a]", "$.a[0]]", "$..a[", "$(a)", "$.a()", "$#a", "$.#", "$.$a", "$.a,b", "$.a;b", "$..[*", "$[*:1]", "$[?]", "$[?@", "$[? ]", "$[?()]", "$[?(@.a]", "$[?@.a)]", "$[?@.a ==]", "$[?== @.a]", "$[?@.a == ]", "$[?@.a = 1]", "$[?@.a === 1]", "$[?@.a <> 1]", "$[?@.a => 1]", "$[?@.a & @.b]", "$[?@.a | @.b]", "$[?@.a and @.b]", "$[?not @.a]", "$[?!@.a == 1]", "$[?!1]", "$[?1]", "$[?'a']", "$[?true]", "$[?null]", "$[?1 == 1 == 1]",
    "$[?@.a == 01]", "$[?@.a == 1.]", "$[?@.a == .1]", "$[?@.a == +1]", "$[?@.a == 1e]", "$[?@.a == 0x1]", "$[?@.a == True]", "$[?@.a == Null]", "$[?@.a == a]", "$[?@.a == 'a]", "$[?@.* == 1]", "$[?@..a == 1]", "$[?@[0,1] == 1]", "$[?@[0:1] == 1]", "$[?@['a','b'] == 1]", "$[?@[?@.a] == 1]", "$[?@.a == @.*]", "$[?(@.a) == 1]", "$[?(@.a == 1) == true]", "$[?@.a == (1)]",
    "$[?length()]", "$[?length(@.a)]", "$[?length(@.a, @.b) == 1]", "$[?length(@.*) == 1]", "$[?length(@.a == 1) == 1]", "$[?count() == 1]", "$[?count(1) == 1]", "$[?count('a') == 1]", "$[?count(@.a, @.b) == 1]", "$[?count(@.a)]", "$[?count(length(@.a)) == 1]", "$[?match(@.a)]", "$[?match(@.a, 'a', 'b')]", "$[?match(@.a, 'a') == true]", "$[?match(@.*, 'a')]", "$[?search(@.a)]", "$[?search(@.a, 'a') == false]", "$[?value(@.a)]", "$[?value(1) == 1]", "$[?value() == 1]", "$[?unknown(@.a)]", "$[?unknown(@.a) == 1]", "$[?LENGTH(@.a) == 1]", "$[?length (@.a) == 1]", "$[?@.length() == 1]", "$.length()", "$[?@.a in [1]]", "$[?@.a =~ /a/]", "$[?@.a == [1]]", "$[?@.a == {}]", "$[?@.a + 1 == 2]", "$[?@.a == 1 && ]", "$[? && @.a]", "$[?@.a !]", "$[(@.length-1)]", "$[?(@.a),]", "$[?@.a 0]", "$.^", "$~", "$.a~", "$[#]", "$[-]", "$[$]", "$[@]", "$[@.a]", "$[$.a]", "$\u00a0.a", "$\ufeff", "\ufeff$", "$[\u00a00]", "$[?@.a==\u00a01]",
]

# Where that implementation errs: `$` in a filter inside a filter is still the whole document (RFC 9535 2.3.5.2).
CORRECTED = {"$[?@.l[?@ == $[1].l[0]]]": ["$[1]", "$[2]"]}


def main() -> None:
    cases = []
    for name, (document, selectors) in CASES.items():
        for selector in selectors:
            nodes = jsonpath.find(selector, document)
            cases.append({"document": name, "selector": selector, "selects": CORRECTED.get(selector, [node.path() for node in nodes])})
    for selector in INVALID:
        try:
            jsonpath.compile(selector)
        except jsonpath.JSONPathError:
            continue
        print(f"the other implementation takes {selector!r}", file=sys.stderr)
    documents = {name: document for name, (document, _) in CASES.items()}
    lines = ",\n".join("    " + json.dumps(case, ensure_ascii=False) for case in cases)
    texts = ",\n".join("    " + json.dumps(name) + ": " + json.dumps(document, ensure_ascii=False) for name, document in documents.items())
    refused = ",\n".join("    " + json.dumps(selector, ensure_ascii=True) for selector in REFUSED)
    wrong = ",\n".join("    " + json.dumps(selector, ensure_ascii=True) for selector in INVALID)
    print('{\n  "documents": {\n' + texts + '\n  },\n  "valid": [\n' + lines + '\n  ],\n  "refused": [\n' + refused + '\n  ],\n  "invalid": [\n' + wrong + "\n  ]\n}")


main()
