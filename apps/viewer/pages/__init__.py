"""The pages of the viewer: each file has one function, `page`, that lays it out; `apps.viewer.app` lists them."""
