tenants: {}
