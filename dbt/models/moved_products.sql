with steps as (
    select
        product_id,
        lag(category) over history as from_category,
        category as to_category,
        row_number() over history as step,
        is_corrected,
        model_version,
        run_id,
        dbt_valid_from as moved_at
    from {{ ref('category_history') }}
    window history as (partition by product_id order by dbt_valid_from)
)

select product_id, from_category, to_category, is_corrected, model_version, run_id, moved_at
from steps
where step > 1 and from_category is distinct from to_category
