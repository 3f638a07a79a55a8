select
    p.product_id,
    coalesce(c.category, p.category) as category,
    c.category is not null as is_corrected,
    p.category as model_category,
    p.confidence,
    p.runner_up,
    p.runner_up_confidence,
    p.status,
    p.reason,
    p.model_version,
    p.run_id,
    p.scored_at,
    p.missing_since,
    p.unfamiliarity
    {%- for name in var('carried_columns') %},
    p.{{ adapter.quote(name) }}
    {%- endfor %}
from {{ source('catalog', 'products') }} as p
left join {{ ref('corrections') }} as c on c.product_id = p.product_id
