-- A difference means that another writer has changed the table: `publish --verify` names the rows.
select published.rows as published, count(products.product_id) as there
from {{ source('catalog', 'published') }} as published
left join {{ source('catalog', 'products') }} as products on true
group by published.rows
having published.rows <> count(products.product_id)
