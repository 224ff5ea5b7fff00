// Reads eight words of 64 bits and writes them elsewhere, each access with an ID of its own and all of them at once. Each word
// is found by its ID, whatever the order of the responses, which the registers tell.
//
//      word 0  source            word 2  four bits for each read, in the order in which their data came: its ID
//      word 1  destination       word 3  the same of the writes and their responses; a write starts it
module order (
    input  wire        clk,
    input  wire        rst_n,

    input  wire        write,
    input  wire [1:0]  word,
    input  wire [63:0] data,
    output reg  [63:0] value,
    output reg         done,

    output wire [3:0]  arid,
    output wire [63:0] araddr,
    output wire [7:0]  arlen,
    output wire        arvalid,
    input  wire        arready,
    input  wire [3:0]  rid,
    input  wire [63:0] rdata,
    input  wire        rlast,
    input  wire        rvalid,
    output wire        rready,
    output wire [3:0]  awid,
    output wire [63:0] awaddr,
    output wire [7:0]  awlen,
    output wire        awvalid,
    input  wire        awready,
    output wire [63:0] wdata,
    output wire        wlast,
    output wire        wvalid,
    input  wire        wready,
    input  wire [3:0]  bid,
    input  wire        bvalid,
    output wire        bready
);

  reg  [63:0] source, destination;
  reg  [63:0] words [0:7];
  reg  [31:0] reads, writes;
  reg  [3:0]  read_addresses, read_data, write_addresses, write_data, answers;
  reg         active;
  wire        writing = active && read_data == 4'd8;

  assign arid = read_addresses;
  assign araddr = source + {57'd0, read_addresses, 3'd0};
  assign arlen = 8'd0;
  assign arvalid = active && read_addresses < 4'd8;
  assign rready = 1'b1;
  assign awid = write_addresses;
  assign awaddr = destination + {57'd0, write_addresses, 3'd0};
  assign awlen = 8'd0;
  assign awvalid = writing && write_addresses < 4'd8;
  // Data may come before its address.
  assign wdata = words[write_data[2:0]];
  assign wlast = 1'b1;
  assign wvalid = writing && write_data < 4'd8;
  assign bready = 1'b1;

  always @* begin
    case (word)
      2'd0: value = source;
      2'd1: value = destination;
      2'd2: value = {32'd0, reads};
      2'd3: value = {32'd0, writes};
    endcase
  end

  always @(posedge clk) begin
    done <= 1'b0;
    if (!rst_n) active <= 1'b0;
    else begin
      if (arvalid && arready) read_addresses <= read_addresses + 4'd1;
      if (awvalid && awready) write_addresses <= write_addresses + 4'd1;
      if (wvalid && wready) write_data <= write_data + 4'd1;
      if (rvalid) begin
        words[rid[2:0]] <= rdata;
        reads <= {reads[27:0], rid};
        read_data <= read_data + 4'd1;
      end
      if (bvalid) begin
        writes <= {writes[27:0], bid};
        answers <= answers + 4'd1;
        if (answers == 4'd7) begin
          active <= 1'b0;
          done <= 1'b1;
        end
      end
      if (write && !active)
        case (word)
          2'd0: source <= data;
          2'd1: destination <= data;
          2'd3: begin
            active <= 1'b1;
            {read_addresses, read_data, write_addresses, write_data, answers} <= 20'd0;
          end
          default: ;
        endcase
    end
  end

endmodule
