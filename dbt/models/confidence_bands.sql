with banded as (
    select
        model_category as category,
        status,
        is_corrected,
        -- A confidence of 1 belongs to the highest band.
        least(floor(cast(confidence as numeric) * 10), 9) / 10 as from_confidence
    from {{ ref('products') }}
    where confidence is not null and missing_since is null
)

select
    category,
    from_confidence,
    from_confidence + 0.1 as to_confidence,
    count(*) as products,
    count(*) filter (where status = 'review' and not is_corrected) as in_review
from banded
group by 1, 2, 3
