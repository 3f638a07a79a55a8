"""Views for analysts over the tables of a target, in the SQL of the engines that read them."""
