select product_id, category
from {{ source('catalog', 'corrections') }}
