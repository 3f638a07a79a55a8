{# The newest correction of each product counts; one without a category takes the earlier ones back. -#}
{% if var('corrections_table') -%}
select product_id, category
from (
    select product_id, category, row_number() over (partition by product_id order by corrected_at desc) as place
    from {{ source('catalog', 'corrections') }}
) as ordered
where place = 1 and category is not null
{%- else -%}
select cast(null as text) as product_id, cast(null as text) as category
where false
{%- endif %}
