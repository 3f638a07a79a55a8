{# A publication adds its counts, or replaces those that it has added before. Those of older publications exist nowhere else. -#}
{{ config(materialized='incremental', incremental_strategy='delete+insert', unique_key='run_id', full_refresh=false) }}

select
    published.run_id,
    published.published_at,
    coalesce(products.category, '(none)') as category,
    products.status,
    count(*) as products,
    count(*) filter (where products.is_corrected) as corrected,
    avg(products.confidence) as mean_confidence
from {{ ref('products') }} as products
cross join {{ source('catalog', 'published') }} as published
where products.missing_since is null
group by 1, 2, 3, 4
