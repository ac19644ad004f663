.PHONY: dev dev-ids dev-down test
dev:      ; @cargo xtask up
dev-ids:  ; @cargo xtask ids
dev-down: ; @cargo xtask down
test:     ; @cargo xtask test
