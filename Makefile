# What the documents call. XTASK: the driver; a shell that has one built says where.
XTASK ?= cargo xtask

.PHONY: dev dev-ids dev-down test
dev:      ; @$(XTASK) up
dev-ids:  ; @$(XTASK) ids
dev-down: ; @$(XTASK) down
test:     ; @$(XTASK) test
