"""Writes tokenizer_templates.json: what transformers renders from some chat templates.

Run with an interpreter that has transformers (5.23 was used; torch is not needed):
``python tests/golden/tokenizer_templates.py``
"""

from __future__ import annotations

import json
from pathlib import Path

from transformers import __version__
from transformers.utils.chat_template_utils import render_jinja_template

SMOLLM2 = (  # HuggingFaceTB/SmolLM2-135M-Instruct
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
HEADERS = """{{- bos_token }}
{%- for message in messages %}
    {%- set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'
        + message['content'] | trim + '<|eot_id|>' %}
    {{- content }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
TOOLS = """{%- macro schema(spec) -%}
{%- for name, value in spec.properties.items() %}
  {{ name }}: {{ value.type if value.type is string else value.type | join(' | ') }}
{%- if not loop.last %},{% endif %}
{%- endfor %}
{%- endmacro -%}
{%- if tools %}
# Tools
{% for tool in tools %}
{{ tool | tojson }}
{{ tool | tojson(indent=2) }}
{{ schema(tool.parameters) }}
{% endfor %}
{%- endif %}
{%- set ns = namespace(last=-1, text='') %}
{%- for message in messages[::-1] %}
    {%- if message.role == 'user' and ns.last < 0 %}
        {%- set ns.last = messages | length - 1 - loop.index0 %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == 'tool' %}{% continue %}{% endif %}
    {%- if '</think>' in message.content %}
        {%- set parts = message.content.split('</think>') %}
        {%- set ns.text = parts[-1].lstrip('\\n') ~ '|' ~ parts[0].split('<think>')[-1] %}
    {%- else %}
        {%- set ns.text = message.content %}
    {%- endif %}
    {%- generation %}
[{{ message.role | upper }}:{{ loop.index }}{{ '*' if loop.index0 == ns.last }}] {{ ns.text }}
    {%- endgeneration %}
    {%- if loop.index > 5 %}{% break %}{% endif %}
{%- endfor %}
{{ eos_token if not add_generation_prompt else '>' }}
"""
ODDS = """  {% set names = messages | map(attribute='role') | list %}
  {{ names | join(',') }} {{ names | unique | sort | join('/') }}
    {#- a comment -#}
  {% if messages | selectattr('role', 'equalto', 'user') | list | length > 1 %}
  many {{ '%' }} {{ 7 // 2 }} {{ 2 ** 5 }} {{ 7 % 3 }} {{ [1, 2] + [3] }} {{ 'ab' * 2 }}
  {% else %}
  {{ none }} {{ true }} {{ missing | default('x') }} {{ missing is defined }} {{ 1.50 }}
  {% endif %}
{{ {'a': 'é<&>', 'b': [none, 1.5, true]} | tojson }} {{ "quote\\"s" | tojson }}
{{ messages[0].content | replace('o', '0') | title }} {{ messages[-1]['content'][:3] }}
{% for k, v in {'z': 1, 'a': 2} | dictsort %}{{ k }}={{ v }} {% endfor %}
{{ 'multi\nline' | indent(2) }} {{ '<b>' | e }} {{ 3.7 | int }} {{ 'abc' | first }} {{ -3 | abs }}
{%- filter upper %} shout {% endfilter -%}
{%- call(x) wrap() %}{{ x }}{% endcall %}
"""
ODDS = "{% macro wrap() %}({{ caller('in') }}){% endmacro %}\n" + ODDS

TOOL = {
    "name": "weather",
    "description": "Look <up> the wéather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": ["integer", "null"]}},
    },
}
TALKS = [
    [{"role": "user", "content": "Hello"}],
    [
        {"role": "system", "content": " Be brief.\n"},
        {"role": "user", "content": "2+2? "},
        {"role": "assistant", "content": "<think>easy</think>\n\n4"},
        {"role": "tool", "content": "ignored"},
        {"role": "user", "content": '日本語 & <b>"quotes"</b> {{ no }} {% raw %}'},
    ],
]


def main() -> None:
    cases = []
    for template in (SMOLLM2, HEADERS, TOOLS, ODDS):
        for messages in TALKS:
            for prompt in (False, True):
                variables = {"tools": [TOOL], "bos_token": "<s>", "eos_token": "</s>"}
                texts, _ = render_jinja_template(
                    conversations=[messages],
                    chat_template=template,
                    add_generation_prompt=prompt,
                    **variables,
                )
                cases.append([template, messages, prompt, variables, texts[0]])
    golden = {"transformers": __version__, "cases": cases}
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(golden, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
