{% snapshot category_history %}

{{ config(strategy='check', unique_key='product_id', check_cols=['category'], hard_deletes='invalidate') }}

select product_id, category, is_corrected, model_version, run_id
from {{ ref('products') }}

{% endsnapshot %}
