-- wrk -s post.lua URL -- FILE: posts the file, formatted once.
local text
function init(args)
  local file = assert(io.open(args[1], "rb"))
  wrk.method, wrk.body = "POST", file:read("*a")
  file:close()
  wrk.headers["Content-Type"] = "application/json"
  text = wrk.format()
end
function request() return text end
